import { X509Certificate } from 'node:crypto';
import { compactVerify, decodeProtectedHeader } from 'jose';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { serviceIdentityOf } from '#policies/spiffe-id.ts';
import { parseSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import {
  maxStepBytes,
  maxSuccessionSteps,
  successionLifeMs,
  successionStepSchema,
  successionType,
} from '#policies/wire/succession.ts';
import { identityServiceName } from './open-bundle.ts';
import type { TrustSource } from './trust.ts';
import { clockSkewMs, verifyChain } from './verify-peer.ts';

/** What a succession starts from: the bundle that a node holds, and what it knows to be revoked. */
export interface HeldTrust {
  readonly bundle: TrustBundle;
  readonly isRevoked: TrustSource['isRevoked'];
}

const headerSchema = z.object({
  alg: z.literal('ES256'),
  typ: z.literal(successionType),
  x5c: z.array(z.base64().max(32_768)).min(1).max(16),
});

/** What a step says, before anything of it is proven. */
interface Step {
  readonly jws: string;
  readonly chain: readonly Uint8Array[];
  readonly issuedAtMs: number;
  readonly bundle: TrustBundle;
}

/**
 * Follows the steps from the roots that are held to those of today. Each must be signed by the SVID of the identity service under the roots of the step before, valid when
 * it was signed (nobody can sign by it today: it has run out), at most 90 days ago, and their sequences must grow. What the held bundle has behind it is passed over.
 * What comes out is a claim still: a live server has to prove itself by these roots before anything is stored (follow-succession.ts).
 *
 * @returns the bundle of the last step
 * @throws MeshError SLV-2015 saying what is wrong, also when nothing leads on
 */
export async function openSuccession(steps: readonly string[], held: HeldTrust, nowMs: number): Promise<TrustBundle> {
  if (steps.length > maxSuccessionSteps) throw refused(`it has more than ${maxSuccessionSteps} steps`);
  let { bundle } = held;
  let sequence = -1;
  for (const jws of steps) {
    const step = readStep(jws, held.bundle);
    if (step.bundle.sequence <= sequence) throw refused('its sequence does not grow');
    ({ sequence } = step.bundle);
    if (sequence <= held.bundle.sequence) continue;
    await verifyStep(step, { bundle, isRevoked: held.isRevoked }, nowMs);
    ({ bundle } = step);
  }
  if (bundle === held.bundle) throw refused('no step of it follows on the roots that are held');
  return bundle;
}

/** Trust in one bundle, with what is known to be revoked. */
export function trustIn({ bundle, isRevoked }: HeldTrust): TrustSource {
  return {
    own: bundle.trustDomain,
    bundleOf: (trustDomain) => (trustDomain === bundle.trustDomain ? bundle : undefined),
    isRevoked,
    onChange: () => () => undefined,
  };
}

function readStep(jws: string, { trustDomain }: TrustBundle): Step {
  if (jws.length > maxStepBytes) throw refused(`a step is larger than ${maxStepBytes} bytes`);
  try {
    const { x5c } = headerSchema.parse(decodeProtectedHeader(jws));
    const payload = Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8');
    const content = successionStepSchema.parse(JSON.parse(payload));
    if (content.trust_domain !== trustDomain)
      throw refused(`a step is of the trust domain ${content.trust_domain.slice(0, 255)}`);
    const bundle = parseSpiffeBundle(trustDomain, content.bundle);
    if (bundle.x509Authorities.length === 0) throw refused('a step has no roots');
    const chain = x5c.map((der) => new Uint8Array(Buffer.from(der, 'base64')));
    return { jws, chain, issuedAtMs: content.iat * 1_000, bundle };
  } catch (cause) {
    throw cause instanceof MeshError && cause.code === 'SLV-2015' ? cause : refused('a step is malformed', cause);
  }
}

async function verifyStep({ jws, chain, issuedAtMs, bundle }: Step, before: HeldTrust, nowMs: number): Promise<void> {
  if (issuedAtMs > nowMs + clockSkewMs) throw refused('a step was signed in the future');
  if (issuedAtMs < nowMs - successionLifeMs) throw refused('a step was signed more than 90 days ago');
  try {
    // At the time it was signed.
    const { spiffeId } = verifyChain({ chain, trust: trustIn(before), nowMs: issuedAtMs });
    const signer = serviceIdentityOf(spiffeId);
    if (signer?.service !== identityServiceName || signer.trustDomain !== bundle.trustDomain)
      throw refused(`a step is signed by ${spiffeId}, which is no identity service of ${bundle.trustDomain}`);
    const { publicKey } = new X509Certificate(chain[0] ?? new Uint8Array());
    await compactVerify(jws, publicKey, { algorithms: ['ES256'] });
  } catch (cause) {
    if (cause instanceof MeshError && cause.code === 'SLV-2015') throw cause;
    const why = cause instanceof MeshError ? cause.message : 'its signature does not verify';
    throw refused(`a step is not signed under the roots of before: ${why}`, cause);
  }
}

function refused(flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2015', `The succession of roots is refused: ${flaw.replace(/\.$/, '')}.`, { cause });
}
