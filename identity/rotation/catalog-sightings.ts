import { MeshError } from '#policies/errors/mesh-error.ts';
import { type SpiffeId, serviceIdentityOf } from '#policies/spiffe-id.ts';
import { meshProxiesSchema } from '#policies/wire/mesh-proxies.ts';
import type { Clock } from '#runtime/clock.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import type { Sightings } from './next-step.ts';

const timeoutMs = 5_000;

/** Asks the catalog, with our own SVID, which live proxies have not acknowledged a bundle of this sequence. */
export async function askCatalog(
  options: { url: string; own: SvidSource; trust: TrustSource; clock: Clock; signal: AbortSignal },
  sequence: number,
): Promise<Sightings> {
  const { url, own, trust, clock, signal } = options;
  const svid = own.current;
  try {
    const answer = await meshRequest({
      url: `${url.replace(/\/+$/, '')}/v1/mesh/proxies`,
      ...(url.startsWith('https:') ? { trust, expect: isCatalog, ...(svid === undefined ? {} : { svid }) } : {}),
      clock,
      timeoutMs,
      signal,
    });
    if (answer.status !== 200) return { kind: 'unknown', reason: `it answered ${answer.status}` };
    const { proxies } = meshProxiesSchema.parse(JSON.parse(answer.body.toString('utf8')));
    const missing = proxies
      .filter(({ live, acknowledged }) => live && (acknowledged?.bundleSequence ?? 0) < sequence)
      .map(({ proxy }) => proxy);
    return { kind: 'proxies', missing: [...new Set(missing)].sort() };
  } catch (error) {
    // Whatever it is, rotation waits and says why; it never goes on because a question failed.
    return {
      kind: 'unknown',
      reason: error instanceof MeshError ? error.message : 'it answered what is not of its contract',
    };
  }
}

/** One object, so that connections are shared. */
function isCatalog(id: SpiffeId): boolean {
  return serviceIdentityOf(id)?.service === 'selvedge-catalog';
}
