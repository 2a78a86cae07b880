import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain, type TrustDomain } from '#policies/spiffe-id.ts';
import { formatSpiffeBundle, parseSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';

/** All that is signed and published, as of one moment. Equal contents have one digest, so lists are in a steady order. */
export interface TrustContents {
  /** Its sequence is 0 until it is published. */
  readonly bundle: TrustBundle;
  readonly federated: readonly TrustBundle[];
  readonly revokedSerials: readonly string[];
  readonly revokedIds: readonly string[];
  readonly tainted: readonly string[];
}

const schema = z.tuple([
  z.unknown(),
  z.array(z.tuple([z.string(), z.unknown()])),
  z.object({
    revokedSerials: z.array(z.string()),
    revokedIds: z.array(z.string()),
    tainted: z.array(z.string()),
  }),
]);
/** Of one value of the store, whose limit is 1 MiB; etcd takes one and a half MiB in one transaction. */
const pieceBytes = 512 * 1024;
const maxTextBytes = 16 * 1024 * 1024;

/** What says whether two contents are the same, hex. */
export function digestOf(contents: TrustContents): string {
  return createHash('sha256').update(textOf(contents)).digest('hex');
}

/** For other processes, in pieces that fit into the store. */
export async function packContents(contents: TrustContents): Promise<Uint8Array[]> {
  const packed = await promisify(gzip)(textOf(contents));
  const count = Math.ceil(packed.length / pieceBytes);
  return Array.from({ length: count }, (_, i) => packed.subarray(i * pieceBytes, (i + 1) * pieceBytes));
}

/** @throws MeshError SLV-2143 when they are not what was packed */
export async function unpackContents(pieces: readonly Uint8Array[], own: TrustDomain): Promise<TrustContents> {
  try {
    const text = await promisify(gunzip)(Buffer.concat(pieces), { maxOutputLength: maxTextBytes });
    const [bundle, federated, others] = schema.parse(JSON.parse(text.toString('utf8')));
    return {
      bundle: parseSpiffeBundle(own, bundle),
      federated: federated.map(([domain, document]) => parseSpiffeBundle(parseTrustDomain(domain), document)),
      ...others,
    };
  } catch (cause) {
    throw new MeshError('SLV-2143', 'The published trust bundle can not be read from the store.', { cause });
  }
}

function textOf({ bundle, federated, ...others }: TrustContents): string {
  const foreign = federated.map((one) => [one.trustDomain, formatSpiffeBundle(one)]);
  return JSON.stringify([formatSpiffeBundle(bundle), foreign, others]);
}
