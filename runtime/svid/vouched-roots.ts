import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import { readFileBounded } from '../atomic-file.ts';
import { certificatesOfPem } from './pem.ts';
import type { TrustSource } from './trust.ts';

/** Trust in roots that an operator vouched for, not in a name: whatever the trust domain is called. For one command or one first contact, not for a process. */
export function vouchedRoots(x509Authorities: readonly Uint8Array[]): TrustSource {
  const bundles = new Map<TrustDomain, TrustBundle>();
  return {
    own: undefined,
    bundleOf(trustDomain) {
      const bundle = bundles.get(trustDomain) ?? {
        trustDomain,
        sequence: 0,
        refreshHintSeconds: 0,
        x509Authorities,
        jwtAuthorities: [],
      };
      bundles.set(trustDomain, bundle);
      return bundle;
    },
    isRevoked: () => false,
    onChange: () => () => undefined,
  };
}

/** The roots in a PEM file (`--ca-file`), DER. Throws SLV-1005, also for a file that holds none. */
export async function readRootsFile(caFile: string): Promise<readonly Uint8Array[]> {
  const pem = await readFileBounded(caFile, 1_048_576);
  if (pem === undefined)
    throw new MeshError('SLV-1005', `There is no file ${caFile} (--ca-file).`, { detail: { path: caFile } });
  try {
    return certificatesOfPem(pem.toString('utf8'));
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError('SLV-1005', `${caFile} (--ca-file) holds no roots: ${cause.message}`, { cause });
  }
}
