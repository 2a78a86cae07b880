import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OptionSet, OptionValues } from '#runtime/configuration.ts';
import { text } from '#runtime/option-kinds.ts';
import type { NodeEvidence } from '#runtime/svid/node-evidence.ts';

/** By what a node joins instead of a join token (docs/identity.md). */
export const attestOptions = {
  attestJwtFile: {
    parse: text,
    placeholder: 'file',
    description: 'join by the JWT in this file: a service account of Kubernetes, the identity of a cloud',
  },
  attestVaultTokenFile: { parse: text, placeholder: 'file', description: 'join by the Vault token in this file' },
  attestVaultWrappedTokenFile: {
    parse: text,
    placeholder: 'file',
    description: 'join by the Vault token behind the wrapping token in this file: nothing else can be done with it',
  },
  attestX509Cert: {
    parse: text,
    placeholder: 'file',
    description: "join by this machine's certificate: PEM chain, without the root",
  },
  attestX509Key: { parse: text, placeholder: 'file', description: 'its key, PEM; it proves itself and never leaves' },
} as const satisfies OptionSet;

/**
 * The one means that the options give.
 * @throws MeshError SLV-1003 for two, or half of one
 */
export function nodeEvidence(
  options: OptionValues<typeof attestOptions> & { readonly joinTokenFile: string | undefined },
): NodeEvidence | undefined {
  const { joinTokenFile, attestJwtFile, attestVaultTokenFile, attestVaultWrappedTokenFile } = options;
  const { attestX509Cert: certFile, attestX509Key: keyFile } = options;
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new MeshError('SLV-1003', '--attest-x509-cert and --attest-x509-key are given together');
  }
  const found: NodeEvidence[] = [];
  if (attestJwtFile !== undefined) found.push({ kind: 'jwt', file: attestJwtFile });
  if (attestVaultTokenFile !== undefined) {
    found.push({ kind: 'vault-token', file: attestVaultTokenFile, wrapped: false });
  }
  if (attestVaultWrappedTokenFile !== undefined) {
    found.push({ kind: 'vault-token', file: attestVaultWrappedTokenFile, wrapped: true });
  }
  if (certFile !== undefined && keyFile !== undefined) found.push({ kind: 'x509pop', certFile, keyFile });
  if (found.length + (joinTokenFile === undefined ? 0 : 1) > 1) {
    throw new MeshError('SLV-1003', 'give one way to join: --join-token-file, or one of --attest-…');
  }
  return found[0];
}
