import { z } from 'zod';
import {
  type AttestationConfig,
  claimsOfMappings,
  httpsUrl,
  isVaultClaim,
  jwtAlgorithms,
  type KeySource,
  type Mapping,
  vaultClaims,
  x509Claims,
} from '#identity/node-attestation/attestation-config.ts';
import { parseTemplate, type TemplateKind } from '#identity/node-attestation/claim-template.ts';
import { parseClaimPath } from '#identity/node-attestation/claims.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { durationMs, serviceUrl } from '#runtime/option-kinds.ts';
import { checked, parseStructure } from './checked-text.ts';

/** Reads `attestation` of the configuration file of `serve identity` (docs/identity.md). Names and bounds of what stands there are checked here, all of it at start. */

const file = z.string().min(1).max(4_096);
const template = (kind: TemplateKind) => z.string().transform(checked((text) => parseTemplate(text, kind)));
const value = z.union([z.string().max(1_024), z.number(), z.boolean()]).transform(String);
const match = z
  .record(z.string(), z.union([value.transform((one) => [one]), z.array(value).min(1).max(64)]))
  .transform((claims, context): Mapping['match'] =>
    Object.entries(claims).map(([claim, oneOf]) => ({ claim: checked(parseClaimPath)(claim, context), oneOf })),
  );
const mapping = z.strictObject({
  match: match.optional(),
  node: template('name'),
  services: z.array(template('grant')).min(1).max(64),
});
const mappings = z.array(mapping).min(1).max(64);

const seconds = (least: number, most: number) =>
  z.string().transform(
    checked((text) => {
      const ms = durationMs(text);
      if (ms < least * 1_000 || ms > most * 1_000) {
        throw new MeshError('SLV-1002', `${quote(text)} is not from ${least} to ${most} seconds`);
      }
      return Math.round(ms / 1_000);
    }),
  );

const jwt = z.strictObject({
  method: z.literal('jwt'),
  issuer: z.string().min(1).max(1_024),
  audience: z.string().min(1).max(1_024),
  'jwks-url': z
    .string()
    .transform(checked((text) => httpsUrl(text).href))
    .optional(),
  'jwks-file': file.optional(),
  'ca-file': file.optional(),
  algorithms: z.array(z.enum(jwtAlgorithms)).min(1).default(['RS256', 'ES256']),
  'clock-skew': seconds(0, 300).default(60),
  'max-token-life': seconds(60, 2_592_000).default(86_400),
  mappings,
});
const vault = z.strictObject({
  method: z.literal('vault-token'),
  'vault-addr': z.string().transform(checked(serviceUrl)),
  'vault-namespace': z.string().min(1).max(256).optional(),
  'ca-file': file.optional(),
  'wrapped-only': z.boolean().default(false),
  mappings,
});
const x509 = z.strictObject({ method: z.literal('x509pop'), 'roots-file': file, mappings });
const schema = z
  .array(z.discriminatedUnion('method', [jwt, vault, x509]))
  .min(1)
  .max(32);

/**
 * @param content what stands in the file
 * @throws MeshError SLV-1002 naming each place that is wrong, and what is
 */
export function parseAttestation(content: unknown): readonly AttestationConfig[] {
  const configs = parseStructure('attestation', schema, content).map(configOf);
  const seen = new Set<string>();
  for (const [at, config] of configs.entries()) {
    const what = config.method === 'jwt' ? `issuer ${quote(config.issuer)}` : config.method;
    if (seen.has(what)) throw fault(`${at}`, `${what} stands there twice; give it several mappings instead`);
    seen.add(what);
    requireMatches(config, at);
    requireKnownClaims(config, at);
  }
  return configs;
}

function configOf(item: z.infer<typeof schema>[number], at: number): AttestationConfig {
  const own = item.mappings.map(
    ({ match: matches = [], node, services }): Mapping => ({ match: matches, node, services }),
  );
  switch (item.method) {
    case 'jwt':
      return {
        method: item.method,
        issuer: item.issuer,
        audience: item.audience,
        keys: keySource(item, at),
        algorithms: item.algorithms,
        clockSkewSeconds: item['clock-skew'],
        maxTokenLifeSeconds: item['max-token-life'],
        mappings: own,
      };
    case 'vault-token':
      return {
        method: item.method,
        address: item['vault-addr'],
        namespace: item['vault-namespace'],
        caFile: item['ca-file'],
        wrappedOnly: item['wrapped-only'],
        mappings: own,
      };
    case 'x509pop':
      return { method: item.method, rootsFile: item['roots-file'], mappings: own };
  }
}

function keySource(item: z.infer<typeof jwt>, at: number): KeySource {
  const { issuer, 'jwks-url': url, 'jwks-file': path, 'ca-file': caFile } = item;
  if (path !== undefined) {
    if (url !== undefined || caFile !== undefined) {
      throw fault(`${at}.jwks-file`, 'jwks-file stands alone, without jwks-url and ca-file');
    }
    return { kind: 'file', path };
  }
  if (url !== undefined) return { kind: 'url', url, caFile };
  try {
    httpsUrl(issuer);
  } catch {
    throw fault(`${at}.issuer`, `${quote(issuer)} is no https URL to discover keys at: give jwks-url or jwks-file`);
  }
  return { kind: 'discovery', issuer, caFile };
}

/** Everybody can get a token of a public issuer, and every program in Vault has one: a mapping that names nobody would let all of them in. */
function requireMatches(config: AttestationConfig, at: number): void {
  if (config.method === 'x509pop') return;
  const empty = config.mappings.findIndex((each) => each.match.length === 0);
  if (empty >= 0) {
    throw fault(
      `${at}.mappings.${empty}.match`,
      'say whom this mapping is for: a claim, and the value or values it must have',
    );
  }
}

/** What a JWT claims is its issuer's business; what Vault and certificates say is known. */
function requireKnownClaims(config: AttestationConfig, at: number): void {
  if (config.method === 'jwt') return;
  const known = config.method === 'vault-token' ? vaultClaims : x509Claims;
  for (const [number, each] of config.mappings.entries()) {
    for (const { text, members } of claimsOfMappings([each])) {
      if (config.method === 'vault-token' ? isVaultClaim(members) : x509Claims.includes(members.join('/'))) continue;
      throw fault(
        `${at}.mappings.${number}`,
        `${config.method} knows no ${quote(text)}; there are ${known.join(', ')}`,
      );
    }
  }
}

function fault(place: string, what: string): MeshError {
  return new MeshError('SLV-1002', `attestation.${place}: ${what}`);
}
