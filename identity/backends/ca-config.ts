import { z } from 'zod';
import type { VaultIntermediateConfig } from './vault-intermediate.ts';
import type { VaultLeafConfig } from './vault-leaf.ts';

/** Which CA signs, and how it is reached. No secret is in it: logins name files. */
export type CaConfig = { readonly kind: 'embedded' } | VaultLeafConfig | VaultIntermediateConfig;

const text = z.string();
const optionalText = text.optional();
const connection = {
  address: text,
  namespace: optionalText,
  caFile: optionalText,
  timeoutMs: z.number().optional(),
  rootsFile: optionalText,
  auth: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('token'), tokenFile: text }),
    z.strictObject({ kind: z.literal('approle'), mount: text, roleIdFile: text, secretIdFile: text }),
    z.strictObject({
      kind: z.literal('approle-wrapped'),
      mount: text,
      roleIdFile: text,
      wrappedSecretIdFile: text,
      keptSecretIdFile: optionalText,
    }),
    z.strictObject({ kind: z.enum(['kubernetes', 'jwt']), mount: text, role: text, jwtFile: text }),
    z.strictObject({ kind: z.literal('cert'), mount: text, role: optionalText, certFile: text, keyFile: text }),
  ]),
};

/** A CA's configuration as it is written down. */
export const caConfigSchema: z.ZodType<CaConfig> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('embedded') }),
  z.strictObject({ kind: z.literal('vault-leaf'), ...connection, mount: text, role: text, issuerRef: optionalText }),
  z.strictObject({
    kind: z.literal('vault-intermediate'),
    ...connection,
    rootMount: text,
    rootIssuerRef: optionalText,
    issuingCaTtlSeconds: z.number().optional(),
  }),
]) as z.ZodType<CaConfig>;

/** Where a CA is: what of its configuration may lead to other roots. How one logs in, and for how long is signed, does not. */
export function placeOf(config: CaConfig): string {
  if (config.kind === 'embedded') return 'embedded';
  const { kind, address, namespace = '' } = config;
  const issuer =
    config.kind === 'vault-leaf'
      ? [config.mount, config.issuerRef ?? 'default']
      : [config.rootMount, config.rootIssuerRef ?? 'default'];
  return JSON.stringify([kind, address.replace(/\/+$/, ''), namespace, ...issuer]);
}

/** A CA's name for people: `vault-leaf pki_int/issuing at https://vault.example:8200`. */
export function labelOf(config: CaConfig): string {
  switch (config.kind) {
    case 'embedded':
      return 'embedded';
    case 'vault-leaf':
      return `vault-leaf ${config.mount}/${config.issuerRef ?? 'default'} at ${config.address}`;
    case 'vault-intermediate':
      return `vault-intermediate ${config.rootMount}/${config.rootIssuerRef ?? 'default'} at ${config.address}`;
  }
}
