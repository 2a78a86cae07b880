import { MeshError } from '#policies/errors/mesh-error.ts';
import { type TrustDomain, trustDomainOf } from '#policies/spiffe-id.ts';
import { parseStrictJson } from '#policies/strict-json.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { Clock } from '#runtime/clock.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { type WebAnswer, webRequest } from '#runtime/web-request.ts';
import { type EndpointProfile, parseEndpointUrl, type Relationship, readForeignBundle } from './relationship.ts';

/** What fetching needs of the world. */
export interface FetchWorld {
  /** The bundle by which an https_spiffe endpoint of this trust domain is proven: the latest. */
  readonly bundleOf: (trustDomain: TrustDomain) => TrustBundle | undefined;
  /** PEM; more roots of Web PKI. */
  readonly webRoots: string | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

const timeoutMs = 10_000;
const maxBytes = 262_144;
const maxRedirects = 3;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Fetches the bundle of a relationship from its endpoint (SPIFFE Federation 5.2). A redirect is followed for this one time, to an https URL, whose server
 * has to prove what the first had to: with https_spiffe the very same SPIFFE ID.
 *
 * @throws MeshError SLV-1006, SLV-2010, SLV-2020 (not proven), SLV-2190 (redirected to what can't be), SLV-2193, SLV-5006, SLV-5009
 */
export async function fetchBundle(relationship: Relationship, world: FetchWorld): Promise<TrustBundle> {
  let url = parseEndpointUrl(relationship.url);
  for (let hop = 0; hop <= maxRedirects; hop++) {
    const { status, location, body } = await get(url, relationship.profile, world);
    if (redirects.has(status) && location !== undefined) {
      url = parseEndpointUrl(location, url);
      continue;
    }
    if (status !== 200) throw new MeshError('SLV-2193', `${url.origin} answered ${status}.`);
    return readForeignBundle(relationship.trustDomain, parseStrictJson(textOf(body)));
  }
  throw new MeshError('SLV-2193', `${url.origin} redirects more than ${maxRedirects} times.`);
}

async function get(url: URL, profile: EndpointProfile, world: FetchWorld): Promise<WebAnswer> {
  const { clock, signal, webRoots } = world;
  if (profile.kind === 'https_web') return webRequest(url, { roots: webRoots, timeoutMs, maxBytes, signal });
  const { endpointId } = profile;
  const trust = trustIn(world.bundleOf(trustDomainOf(endpointId)));
  const request = { url: url.href, headers: { accept: 'application/json' }, trust, expect: endpointId, clock };
  const { status, headers, body } = await meshRequest({ ...request, timeoutMs, maxBytes, signal });
  return { status, location: headers['location'], body };
}

/** One bundle, for one trust domain. */
function trustIn(bundle: TrustBundle | undefined): TrustSource {
  return {
    own: undefined,
    bundleOf: (trustDomain) => (trustDomain === bundle?.trustDomain ? bundle : undefined),
    isRevoked: () => false,
    onChange: () => () => undefined,
  };
}

function textOf(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch (cause) {
    throw new MeshError('SLV-2193', 'The bundle is not in UTF-8.', { cause });
  }
}
