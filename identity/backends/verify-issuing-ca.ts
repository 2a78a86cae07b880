import { createPublicKey, randomBytes } from 'node:crypto';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, type TrustDomain } from '#policies/spiffe-id.ts';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { clockSkewMs } from '#runtime/svid/verify-peer.ts';
import { verifyIssued } from '../verify-issued.ts';
import type { Authority } from '../x509-authority.ts';
import { inProcessIssuer, signInProcess } from './in-process-issuer.ts';

/** An issuing CA as somebody else certified it. */
export interface CertifiedAuthority extends Authority {
  /** What lies between it and the root, DER, the nearest first. */
  readonly above: readonly Uint8Array[];
}

const probeSeconds = 60;

/**
 * Looks at an issuing CA that somebody else certified before anything is signed under it: our key, a CA that signs leaves only, the SPIFFE ID of the
 * trust domain and no other name, no longer a life than asked; and that a peer would accept a leaf under it, shown by signing one and running it through
 * the one verifier.
 *
 * @param asked.ttlSeconds undefined: any (it was looked at when it came)
 * @throws MeshError SLV-2142 naming the difference
 */
export async function verifyIssuingCa(
  authority: CertifiedAuthority,
  asked: {
    readonly trustDomain: TrustDomain;
    readonly roots: readonly Uint8Array[];
    readonly ttlSeconds: number | undefined;
    readonly nowMs: number;
  },
): Promise<void> {
  const { trustDomain, roots, ttlSeconds, nowMs } = asked;
  const { facts, pathLength } = await attempt(async () => readCertificateLink(authority.certificateDer));
  const key = createPublicKey(authority.key);
  const spkiDer = key.export({ format: 'der', type: 'spki' });
  if (!spkiDer.equals(facts.spkiDer)) throw differs('it is for another key');
  if (!facts.isCa) throw differs('it is not a CA');
  if (facts.keyUsage?.keyCertSign !== true) throw differs('it may not sign certificates');
  if (pathLength !== 0) throw differs(`its path length is ${pathLength ?? 'unlimited'}, not 0`);
  const names = [...facts.uriSans, ...facts.dnsSans];
  if (names.length !== 1 || facts.otherSanCount > 0 || facts.uriSans[0] !== `spiffe://${trustDomain}`) {
    throw differs(`its names are ${names.join(', ') || 'none'}, not just spiffe://${trustDomain}`);
  }
  if (ttlSeconds !== undefined && facts.notAfterMs > nowMs + ttlSeconds * 1_000 + clockSkewMs) {
    throw differs(`it is valid until ${new Date(facts.notAfterMs).toISOString()}, asked were ${ttlSeconds} s`);
  }
  const spiffeId = parseSpiffeId(`spiffe://${trustDomain}/selvedge/probe`);
  const request = { spkiDer: new Uint8Array(spkiDer), key, pem: '' };
  const order = { request, spiffeId, ttlSeconds: probeSeconds };
  const context = { clock: () => nowMs, randomBytes };
  await attempt(async () =>
    verifyIssued(
      await signInProcess(inProcessIssuer(authority), () => authority.above, order, context),
      order,
      roots,
      nowMs,
    ),
  );
}

async function attempt<T>(check: () => Promise<T>): Promise<T> {
  try {
    return await check();
  } catch (cause) {
    if (!(cause instanceof MeshError)) throw cause;
    throw differs(cause.message.replace(/\.$/, ''), cause);
  }
}

function differs(what: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2142', `The issuing CA that came back can not be used: ${what}.`, { cause });
}
