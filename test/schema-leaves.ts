import type { z } from 'zod';

/** Paths of all fields of a schema that hold no further ones: `Routes[].Match.HTTP.PathExact`; `*` for any key. */
export function leavesOf(schema: z.core.$ZodType, at = ''): string[] {
  const def = schema._zod.def as unknown as Readonly<Record<string, unknown>>;
  const inner = (name: string, path: string): string[] => leavesOf(def[name] as z.core.$ZodType, path);
  switch (def['type']) {
    case 'object':
      return Object.entries(def['shape'] as Record<string, z.core.$ZodType>).flatMap(([key, field]) =>
        leavesOf(field, at === '' ? key : `${at}.${key}`),
      );
    case 'pipe':
      return [...new Set([...inner('in', at), ...inner('out', at)])].filter((path, _, all) => isLeaf(path, all));
    case 'array':
      return inner('element', `${at}[]`).map((path) => (path === `${at}[]` ? at : path));
    case 'record':
      return inner('valueType', `${at}.*`).map((path) => (path === `${at}.*` ? at : path));
    default:
      return def['innerType'] === undefined ? [at] : inner('innerType', at);
  }
}

/** What a transformation comes to is not looked into: its place is no field where there are fields within. */
function isLeaf(path: string, all: readonly string[]): boolean {
  return !all.some(
    (other) => other !== path && (path === '' || other.startsWith(`${path}.`) || other.startsWith(`${path}[`)),
  );
}
