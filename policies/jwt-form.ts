import { z } from 'zod';
import { consulObject, invalidIntention } from './consul-object.ts';
import type { JwtRequirement } from './intention.ts';

/** Most providers of one requirement, claims of one provider, and names on the way to a claim. */
const maxProviders = 16;
const maxClaims = 16;
const maxDepth = 16;
const text = z.string().max(1_024);

/** Consul's `JWT`, the shape only; what the fields say is judged by parseJwtRequirement. */
export const consulJwtSchema = consulObject({
  Providers: z
    .array(
      consulObject({
        Name: text.exactOptional(),
        VerifyClaims: z
          .array(consulObject({ Path: z.array(text).max(maxDepth).exactOptional(), Value: text.exactOptional() }))
          .max(maxClaims)
          .exactOptional(),
      }),
    )
    .max(maxProviders)
    .exactOptional(),
});

/** A requirement in the spelling of our own API, as it is stored and as it travels (policies/intention.ts). */
export const jwtRequirementSchema = z.strictObject({
  providers: z
    .array(
      z.strictObject({
        name: text,
        verifyClaims: z
          .array(z.strictObject({ path: z.array(text).min(1).max(maxDepth), value: text }))
          .max(maxClaims)
          .exactOptional(),
      }),
    )
    .min(1)
    .max(maxProviders),
});

/**
 * Judges a requirement. One that names no provider would be met by nothing, or by everything: it is refused.
 * @param at `Permissions[0].JWT`
 * @throws MeshError SLV-5004
 */
export function parseJwtRequirement({ Providers = [] }: z.output<typeof consulJwtSchema>, at: string): JwtRequirement {
  if (Providers.length === 0) throw invalidIntention(`${at}.Providers: at least one provider is required`);
  return {
    providers: Providers.map(({ Name = '', VerifyClaims = [] }, index) => {
      const place = `${at}.Providers[${index}]`;
      if (Name === '') throw invalidIntention(`${place}: JWT provider name is required`);
      const verifyClaims = VerifyClaims.map(({ Path = [], Value = '' }, claim) => {
        const found = `${place}.VerifyClaims[${claim}]`;
        if (Path.length === 0 || Path.includes('')) throw invalidIntention(`${found}.Path is required`);
        if (Value === '') throw invalidIntention(`${found}.Value is required`);
        return { path: Path, value: Value };
      });
      return { name: Name, ...(verifyClaims.length === 0 ? {} : { verifyClaims }) };
    }),
  };
}

/** A requirement as Consul's JSON. */
export function formatJwtRequirement({ providers }: JwtRequirement): object {
  return {
    Providers: providers.map(({ name, verifyClaims = [] }) => ({
      Name: name,
      ...(verifyClaims.length === 0
        ? {}
        : { VerifyClaims: verifyClaims.map(({ path, value }) => ({ Path: path, Value: value })) }),
    })),
  };
}
