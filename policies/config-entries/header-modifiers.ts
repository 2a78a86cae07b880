import { z } from 'zod';
import { flawOfHeaderName, flawOfHeaderValue } from '../routing/editable-header.ts';
import { entryObject, invalidEntry, listOf, mapOf } from './entry-object.ts';

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

/**
 * Stricter than Consul: what no proxy may do is refused when it is written.
 * @throws ConsulError 400
 */
export function judgeHeaderModifiers(place: string, modifiers: HeaderModifiers | undefined): void {
  const { Add = {}, Set: Put = {}, Remove = [] } = modifiers ?? {};
  for (const name of [...Object.keys(Add), ...Object.keys(Put), ...Remove]) {
    const flaw = flawOfHeaderName(name);
    if (flaw !== undefined) throw invalidEntry(`${place}: ${flaw}`);
  }
  for (const [name, value] of [...Object.entries(Add), ...Object.entries(Put)]) {
    const flaw = flawOfHeaderValue(value);
    if (flaw !== undefined) throw invalidEntry(`${place}: ${name} can't have this value: ${flaw}`);
  }
}
