import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { type ClaimTemplate, claimsOf } from './claim-template.ts';
import type { ClaimPath } from './claims.ts';

/** How attestation is configured. Apart from what attests, which needs libraries that a command of the CLI must not wait for. */

/** What attests nodes besides join tokens: any number of JWT issuers, and at most one Vault and one set of certificate roots. */
export type AttestationConfig = JwtIssuerConfig | VaultTokenConfig | X509PopConfig;

/** Whom a mapping is for, and what it makes of them. */
export interface Mapping {
  /** All must hold: the claim is one of these values, or a list that has one of them. Text, exactly; numbers, true and false as they are written. */
  readonly match: readonly { readonly claim: ClaimPath; readonly oneOf: readonly string[] }[];
  /** Name of the node. */
  readonly node: ClaimTemplate;
  /** Patterns of its grant. */
  readonly services: readonly ClaimTemplate[];
}

/** Every claim that mappings ask for. */
export function claimsOfMappings(mappings: readonly Mapping[]): readonly ClaimPath[] {
  return mappings.flatMap(({ match, node, services }) => [
    ...match.map(({ claim }) => claim),
    ...[node, ...services].flatMap(claimsOf),
  ]);
}

/** Asymmetric all: with a symmetric one whoever can verify could sign, and a public key could be passed off as a secret. */
export const jwtAlgorithms = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA'],
] as const;

/** One issuer whose tokens attest nodes. */
export interface JwtIssuerConfig {
  readonly method: 'jwt';
  /** `iss`, exactly. */
  readonly issuer: string;
  /** Must be among `aud`: a token that was made for somebody else attests nothing. */
  readonly audience: string;
  readonly keys: KeySource;
  readonly algorithms: readonly string[];
  readonly clockSkewSeconds: number;
  /** A token whose `exp` is further off is refused: so long is it remembered whom it attested. */
  readonly maxTokenLifeSeconds: number;
  readonly mappings: readonly Mapping[];
}

/** Where the keys of an issuer are. */
export type KeySource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'url'; readonly url: string; readonly caFile: string | undefined }
  /** OpenID Connect Discovery: `<issuer>/.well-known/openid-configuration` names the URL. */
  | { readonly kind: 'discovery'; readonly issuer: string; readonly caFile: string | undefined };

/** @throws MeshError SLV-1002 */
export function httpsUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '' || url.hash !== '') {
    throw new MeshError('SLV-1002', `${quote(text)} is no https URL without user and fragment`);
  }
  return url;
}

/** The Vault whose tokens attest nodes; it need not be the one that signs. */
export interface VaultTokenConfig {
  readonly method: 'vault-token';
  readonly address: string;
  readonly namespace: string | undefined;
  readonly caFile: string | undefined;
  /** Take a token only behind a wrapping token: then it was in nobody else's hands. */
  readonly wrappedOnly: boolean;
  readonly mappings: readonly Mapping[];
}

/** What mappings can ask for; of `meta` and `entity/metadata` any member. */
export const vaultClaims = [
  'display_name',
  'entity_id',
  'path',
  'policies',
  'meta/…',
  'entity/name',
  'entity/metadata/…',
];
const vaultClaimForm = /^(?:display_name|entity_id|path|policies|meta\/[^/]+|entity\/name|entity\/metadata\/[^/]+)$/;

/** Whether a mapping can ask for this claim. */
export function isVaultClaim(members: readonly string[]): boolean {
  return vaultClaimForm.test(members.map((member) => member.replaceAll('/', '_')).join('/'));
}

/** Whose certificates attest nodes. */
export interface X509PopConfig {
  readonly method: 'x509pop';
  /** PEM; read again for each attestation, so that a new root needs no restart. */
  readonly rootsFile: string;
  readonly mappings: readonly Mapping[];
}

/** What mappings can ask for. */
export const x509Claims = ['subject/cn', 'dns', 'uri', 'serial', 'sha256', 'root/sha256'];
