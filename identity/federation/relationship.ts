import { z } from 'zod';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import {
  parseSpiffeId,
  parseTrustDomain,
  type SpiffeId,
  type TrustDomain,
  trustDomainOf,
} from '#policies/spiffe-id.ts';
import { formatSpiffeBundle, parseSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import type { CreateFederation } from '#policies/wire/federation-api.ts';
import { maxBundleKeys } from '#policies/wire/signed-bundle.ts';

/** By what a bundle endpoint proves itself (SPIFFE Federation 5.2). */
export type EndpointProfile =
  | { readonly kind: 'https_web' }
  | { readonly kind: 'https_spiffe'; readonly endpointId: SpiffeId };

/** Whose bundle we fetch, from where, and the last one. */
export interface Relationship {
  readonly trustDomain: TrustDomain;
  readonly url: string;
  readonly profile: EndpointProfile;
  readonly createdAtMs: number;
  readonly held: HeldBundle;
}

/** The bundle of a relationship, and who vouched for it. */
export type HeldBundle =
  | { readonly kind: 'none' }
  | { readonly kind: 'configured'; readonly bundle: TrustBundle }
  | { readonly kind: 'fetched'; readonly bundle: TrustBundle; readonly fetchedAtMs: number };

const document = z.record(z.string(), z.unknown());

/** A relationship as stored. Bundles are stored as what was understood of them, and read again when loaded. */
export const relationshipSchema = z.object({
  trustDomain: z.string(),
  url: z.string(),
  profile: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('https_web') }),
    z.object({ kind: z.literal('https_spiffe'), endpointId: z.string() }),
  ]),
  createdAtMs: z.number(),
  held: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('none') }),
    z.object({ kind: z.literal('configured'), document }),
    z.object({ kind: z.literal('fetched'), document, fetchedAtMs: z.number() }),
  ]),
});
type StoredRelationship = z.infer<typeof relationshipSchema>;

/** @returns a relationship as an operator asks for it. Throws SLV-2190 naming what can't be */
export function newRelationship(asked: CreateFederation, own: TrustDomain, nowMs: number): Relationship {
  try {
    const trustDomain = parseTrustDomain(asked.trustDomain);
    if (trustDomain === own) throw impossible(`${trustDomain} is our own trust domain`);
    const held: HeldBundle =
      asked.bundle === undefined
        ? { kind: 'none' }
        : { kind: 'configured', bundle: readForeignBundle(trustDomain, asked.bundle) };
    const profile = profileOf(asked, trustDomain);
    if (held.kind === 'configured' && provesNothing(held.bundle, profile))
      throw impossible(
        `the bundle given has no root (a key of use x509-svid) by which the endpoint of ${trustDomain} could be proven`,
      );
    return { trustDomain, url: parseEndpointUrl(asked.url).href, profile, createdAtMs: nowMs, held };
  } catch (cause) {
    if (!isMeshError(cause) || cause.code === 'SLV-2190') throw cause;
    throw impossible(cause.message.replace(/\.$/, ''), cause);
  }
}

/** A URL that a bundle may be fetched from, also after a redirect. Throws SLV-2190. */
export function parseEndpointUrl(text: string, base?: URL): URL {
  const url = URL.canParse(text, base?.href) ? new URL(text, base?.href) : undefined;
  if (url === undefined || url.protocol !== 'https:') throw impossible(`${quote(text)} is not an https URL`);
  if (url.username !== '' || url.password !== '') throw impossible('a bundle endpoint takes no user and no password');
  if (url.hash !== '') throw impossible('the URL of a bundle endpoint has no fragment');
  return url;
}

/**
 * Reads their bundle, and makes sure that ours can carry it.
 * @throws MeshError SLV-5006, SLV-5007
 */
export function readForeignBundle(trustDomain: TrustDomain, content: unknown): TrustBundle {
  const bundle = parseSpiffeBundle(trustDomain, content);
  if (bundle.x509Authorities.length + bundle.jwtAuthorities.length > maxBundleKeys)
    throw new MeshError('SLV-5006', `The bundle of ${trustDomain} has more than ${maxBundleKeys} keys.`);
  formatSpiffeBundle(bundle);
  return bundle;
}

export function storedFormOf(relationship: Relationship): StoredRelationship {
  const { held, ...rest } = relationship;
  if (held.kind === 'none') return { ...rest, held };
  const { bundle, ...how } = held;
  return { ...rest, held: { ...how, document: { ...formatSpiffeBundle(bundle) } } };
}

/** @throws MeshError SLV-5001, SLV-5006 when it was not we who stored it */
export function relationshipOf(stored: StoredRelationship): Relationship {
  const trustDomain = parseTrustDomain(stored.trustDomain);
  const { held, profile } = stored;
  const read = (content: unknown) => parseSpiffeBundle(trustDomain, content);
  return {
    trustDomain,
    url: stored.url,
    createdAtMs: stored.createdAtMs,
    profile: profile.kind === 'https_web' ? profile : { ...profile, endpointId: parseSpiffeId(profile.endpointId) },
    held:
      held.kind === 'none'
        ? held
        : held.kind === 'configured'
          ? { kind: 'configured', bundle: read(held.document) }
          : { kind: 'fetched', bundle: read(held.document), fetchedAtMs: held.fetchedAtMs },
  };
}

function profileOf({ profile, endpointSpiffeId, bundle }: CreateFederation, trustDomain: TrustDomain): EndpointProfile {
  if (profile === 'https_web') {
    if (endpointSpiffeId !== undefined) throw impossible('an https_web endpoint has no SPIFFE ID');
    return { kind: 'https_web' };
  }
  if (endpointSpiffeId === undefined) throw impossible('https_spiffe needs the SPIFFE ID of the endpoint');
  const endpointId = parseSpiffeId(endpointSpiffeId);
  if (bundle === undefined && trustDomainOf(endpointId) === trustDomain)
    throw impossible(`https_spiffe needs a first bundle of ${trustDomain}, by which its endpoint is proven`);
  return { kind: 'https_spiffe', endpointId };
}

/** An endpoint of that very trust domain could never be fetched from. */
function provesNothing({ trustDomain, x509Authorities }: TrustBundle, profile: EndpointProfile): boolean {
  return (
    profile.kind === 'https_spiffe' && trustDomainOf(profile.endpointId) === trustDomain && x509Authorities.length === 0
  );
}

function impossible(why: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2190', `The federation is not possible: ${why}.`, { cause });
}
