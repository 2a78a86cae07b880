import { createHash, X509Certificate } from 'node:crypto';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain, type SpiffeId, trustDomainOf } from '#policies/spiffe-id.ts';
import { parseSpiffeBundle } from '#policies/trust-bundle.ts';
import { signedBundleAnswerSchema } from '#policies/wire/identity-api.ts';
import { fetchUnproven, type MeshResponse, meshRequest } from '../mesh-http.ts';
import type { ProcessContext } from '../process-context.ts';
import { identityTimeoutMs, isIdentityService, parseAnswer, refusal } from './identity-client.ts';
import { type OpenedBundle, openSignedBundle, readUnprovenBundle } from './open-bundle.ts';
import { parseRootPin } from './root-pin.ts';
import { readRootsFile, vouchedRoots } from './vouched-roots.ts';

/** How a node that knows nobody yet recognises its identity service. */
export interface FirstContact {
  readonly identityUrl: string;
  /** PEM file of roots. */
  readonly caFile?: string | undefined;
  /** `sha256:HEX`, over the SubjectPublicKeyInfo (DER) of a root. With a file too, of its roots the one with this pin. */
  readonly caPin?: string | undefined;
  readonly context: ProcessContext;
  readonly signal: AbortSignal;
}

/**
 * Proves the identity service to a node that knows nobody, and brings back the trust bundle that it signed. Nothing secret is sent: with a pin, the
 * bundle is fetched from a server that has proven nothing, to find the pinned root in it; then a fresh connection must show the SVID of
 * `/svc/selvedge-identity` under that root, and what it signs is taken. The trust domain is that SVID's. Over plain http (`dev`) all is believed.
 *
 * @throws MeshError SLV-2010 when the server could not prove itself, SLV-1003 when there is nothing to prove it by, SLV-1002 when there is and it is asked
 *   over plain http, SLV-1006 when it can't be reached
 */
export async function firstContact(contact: FirstContact): Promise<OpenedBundle> {
  const { identityUrl, context, signal } = contact;
  const url = `${identityUrl.replace(/\/+$/, '')}/v1/identity/bundle/signed`;
  const request = { url, clock: context.clock, timeoutMs: identityTimeoutMs, signal };
  requireProvable(contact);
  if (identityUrl.startsWith('http:')) {
    const believed = readUnprovenBundle(jwsOf(await meshRequest(request), identityUrl));
    context.log.warn(
      { identityUrl },
      'plain http: the identity service and its trust bundle are believed without proof; for development only',
    );
    return believed;
  }
  const trust = vouchedRoots(await provenRoots(contact));
  let serverId: SpiffeId | undefined;
  const expect = (id: SpiffeId): boolean => {
    serverId = id;
    return isIdentityService(id);
  };
  try {
    const jws = jwsOf(await meshRequest({ ...request, trust, expect }), identityUrl);
    if (serverId === undefined) throw new MeshError('SLV-2010', 'The server showed no SVID.');
    return await openSignedBundle(jws, trustDomainOf(serverId), trust, context.clock());
  } catch (cause) {
    if (!(cause instanceof MeshError) || !['SLV-2020', 'SLV-2010', 'SLV-2012'].includes(cause.code)) throw cause;
    throw new MeshError(
      'SLV-2010',
      `The server at ${identityUrl} did not prove that it is the identity service: ${cause.message}`,
      {
        detail: { identityUrl },
        cause,
      },
    );
  }
}

/**
 * Who names roots or a pin wants the server proven: over plain http nothing would be, so that is refused instead of passed over.
 * @throws MeshError SLV-1002
 */
export function requireProvable(contact: Pick<FirstContact, 'identityUrl' | 'caFile' | 'caPin'>): void {
  const { identityUrl, caFile, caPin } = contact;
  if (!identityUrl.startsWith('http:') || (caFile === undefined && caPin === undefined)) return;
  throw new MeshError(
    'SLV-1002',
    `${caPin === undefined ? '--ca-file' : '--ca-pin'} can not prove the identity service at ${identityUrl}: over plain http nobody proves anything. Give its https:// address (--identity)`,
  );
}

/** Roots that the operator vouched for, by file, by pin, or by both. */
async function provenRoots(contact: FirstContact): Promise<readonly Uint8Array[]> {
  const { identityUrl, caFile, caPin, context, signal } = contact;
  if (caFile !== undefined) return rootsOfFile(caFile, caPin);
  if (caPin === undefined) {
    throw new MeshError(
      'SLV-1003',
      `Nothing tells the identity service at ${identityUrl} from another: give --ca-file or --ca-pin.`,
    );
  }
  const pin = parseRootPin(caPin);
  const url = `${identityUrl.replace(/\/+$/, '')}/v1/identity/bundle`;
  const answer = await fetchUnproven({ url, clock: context.clock, timeoutMs: identityTimeoutMs, signal });
  if (answer.status !== 200) throw refusal(answer, identityUrl);
  const pinned = rootsOf(answer, identityUrl).filter((der) => spkiPin(der) === pin);
  if (pinned.length > 0) return pinned;
  throw new MeshError('SLV-2010', `The server at ${identityUrl} has no root with the pin ${caPin.slice(0, 80)}.`, {
    detail: { identityUrl },
  });
}

/**
 * The roots of a PEM file; with a pin, those of them that have it.
 * @throws MeshError SLV-1005 when the file can't be read, SLV-2010 when no root in it has the pin
 */
export async function rootsOfFile(caFile: string, caPin: string | undefined): Promise<readonly Uint8Array[]> {
  const roots = await readRootsFile(caFile);
  if (caPin === undefined) return roots;
  const pin = parseRootPin(caPin);
  const pinned = roots.filter((der) => spkiPin(der) === pin);
  if (pinned.length > 0) return pinned;
  throw new MeshError('SLV-2010', `No root in ${caFile} (--ca-file) has the pin ${caPin.slice(0, 80)} (--ca-pin).`);
}

function rootsOf(answer: MeshResponse, identityUrl: string): readonly Uint8Array[] {
  try {
    // Only its certificates are looked at; which trust domain they are of is not known yet, and not taken from here.
    return parseSpiffeBundle(parseTrustDomain('unproven'), JSON.parse(answer.body.toString('utf8'))).x509Authorities;
  } catch (cause) {
    throw new MeshError('SLV-2010', `The server at ${identityUrl} has no SPIFFE bundle.`, {
      detail: { identityUrl },
      cause,
    });
  }
}

/** Lower-case hex SHA-256 of a certificate's SubjectPublicKeyInfo: what follows `sha256:` in a pin. */
export function spkiPin(certificateDer: Uint8Array): string {
  const spki = new X509Certificate(certificateDer).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('hex');
}

function jwsOf(answer: MeshResponse, identityUrl: string): string {
  if (answer.status !== 200) throw refusal(answer, identityUrl);
  return parseAnswer(answer, signedBundleAnswerSchema, identityUrl).jws;
}
