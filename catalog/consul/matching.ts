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

/** A write that was done and that the writer should think about. One line of ASCII: names are checked before they get here. */
export function warningHeader(warning: string | undefined): Record<string, string> {
  return warning === undefined ? {} : { 'x-selvedge-warning': warning };
}
