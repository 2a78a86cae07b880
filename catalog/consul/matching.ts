import type { Node } from '../state/nodes.ts';
import type { ServiceInstance } from '../state/services.ts';

/** @returns whether an instance has every `?tag=` */
export function hasTags(query: URLSearchParams): (instance: ServiceInstance) => boolean {
  const wanted = query.getAll('tag').filter((tag) => tag !== '');
  return ({ record }) => wanted.every((tag) => record.Tags.includes(tag));
}

/** @returns whether a node has every `?node-meta=key:value` */
export function hasNodeMeta(query: URLSearchParams): (node: Node) => boolean {
  const wanted = query.getAll('node-meta').map((pair): [string, string] => {
    const at = pair.indexOf(':');
    return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
  });
  return ({ record }) => wanted.every(([key, value]) => Object.hasOwn(record.Meta, key) && record.Meta[key] === value);
}

/** Longest header of warnings, in characters; our own API has them whole. */
const maxWarningLength = 4_096;

/** A write that was done and that the writer should think about: one line of ASCII, whatever the rules that it is about say. */
export function warningHeader(warnings: readonly string[]): Record<string, string> {
  if (warnings.length === 0) return {};
  const line = warnings.join('; ').replace(/[^\x20-\x7e]/g, '?');
  return {
    'x-selvedge-warning': line.length > maxWarningLength ? `${line.slice(0, maxWarningLength - 3)}...` : line,
  };
}
