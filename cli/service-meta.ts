import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Locality } from '#policies/wire/feed-routing.ts';

/** One fact about an instance: `version=2`. */
export type MetaPair = readonly [key: string, value: string];

/** Consul's. */
export const metaKey = /^[A-Za-z0-9_-]{1,128}$/;
/** In characters. */
export const maxMetaValue = 512;

/** Reads `key=value`, within Consul's limits for the meta of a service. Throws SLV-1002. */
export function parseMetaPair(text: string): MetaPair {
  const separator = text.indexOf('=');
  const [key, value] = [text.slice(0, Math.max(0, separator)), text.slice(separator + 1)];
  if (!metaKey.test(key) || value.length > maxMetaValue)
    throw new MeshError('SLV-1002', `"${text.slice(0, 80)}" is no meta; it takes the form version=2`);
  return [key, value];
}

/** Reads a tag. Throws SLV-1002. */
export function parseServiceTag(text: string): string {
  if (/^[\x21-\x7e]{1,128}$/.test(text)) return text;
  throw new MeshError('SLV-1002', `"${text.slice(0, 80)}" is no tag: printable ASCII without spaces`);
}

/** Reads `region/zone`, or a region. Throws SLV-1002. */
export function parseLocality(text: string): Locality {
  const [, region = '', zone = ''] = /^([A-Za-z0-9._-]{1,128})(?:\/([A-Za-z0-9._-]{1,128}))?$/.exec(text) ?? [];
  if (region !== '') return { region, zone };
  throw new MeshError('SLV-1002', `"${text.slice(0, 80)}" is no locality; it takes the form eu-west/a`);
}
