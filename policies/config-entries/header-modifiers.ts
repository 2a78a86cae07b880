import { z } from 'zod';
import { entryObject, listOf, mapOf } from './entry-object.ts';

/** Headers added, set and removed on the way. */
export const headerModifiersSchema = entryObject({
  Add: mapOf(z.string().max(4_096)),
  Set: mapOf(z.string().max(4_096)),
  Remove: listOf(z.string().max(256)),
});
export type HeaderModifiers = z.output<typeof headerModifiersSchema>;

/** What both say; where both say something of one header, `over` does. Undefined: neither says anything. */
export function mergeModifiers(
  base: HeaderModifiers | undefined,
  over: HeaderModifiers | undefined,
): HeaderModifiers | undefined {
  if (base === undefined || over === undefined) return over ?? base;
  const added = { ...base.Add, ...over.Add };
  const set = { ...base.Set, ...over.Set };
  const removed = [...(base.Remove ?? []), ...(over.Remove ?? [])];
  return {
    ...(Object.keys(added).length > 0 ? { Add: added } : {}),
    ...(Object.keys(set).length > 0 ? { Set: set } : {}),
    ...(removed.length > 0 ? { Remove: removed } : {}),
  };
}
