import type { Locality } from '#policies/wire/feed-routing.ts';
import type { TargetView } from '../view/service-view.ts';

/**
 * A target that is called by locality, as several that fail over to one another: the instances of our zone, then those of our region, then all others. Where the
 * catalog does not ask for it, or nobody said where we are, it stays one.
 */
export function nearestFirst(target: TargetView, own: Locality | undefined): readonly TargetView[] {
  if (!target.byLocality || own === undefined) return [target];
  const groups: TargetView['endpoints'][number][][] = [[], [], []];
  for (const endpoint of target.endpoints) groups[distance(endpoint.locality, own)]?.push(endpoint);
  const parts = groups.flatMap((endpoints, far) =>
    endpoints.length === 0
      ? []
      : [{ ...target, name: `${target.name}${suffixes[far] ?? ''}`, partOf: target.name, endpoints }],
  );
  return parts.length === 0 ? [target] : parts;
}

/** Part of the names, so that a group keeps its ejections while others come and go. */
const suffixes = ['~zone', '~region', '~elsewhere'];

/** 0: our zone; 1: our region; 2: elsewhere, or nobody knows where. */
function distance(locality: Locality | undefined, own: Locality): number {
  if (locality === undefined || locality.region === '' || locality.region !== own.region) return 2;
  return own.zone !== '' && locality.zone === own.zone ? 0 : 1;
}
