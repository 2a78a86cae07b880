import { z } from 'zod';
import { ConsulError } from '../consul/consul-error.ts';
import { formatGoDuration, parseGoDuration } from '../consul/go-duration.ts';
import { consulObject } from '../consul-object.ts';
import { isServiceName } from '../service-name.ts';

/**
 * What config entries are made of. A value is read as Consul's decoder reads it and kept as Go's encoder would write it: what is empty is left out
 * (`omitempty`), durations are Go's text or nanoseconds, whichever Consul gives back. So what is stored is what is shown.
 */
export function entryObject<Shape extends z.ZodRawShape>(shape: Shape) {
  return consulObject(shape).transform(withoutEmpty);
}

function withoutEmpty<T extends object>(fields: T): T {
  // Only fields that may be missing are ever undefined.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

const unlessEmpty =
  <T>(empty: (value: T) => boolean) =>
  (value: T): T | undefined =>
    empty(value) ? undefined : value;

/** Text that says nothing when it is empty. */
export const text = z
  .string()
  .max(4_096)
  .transform(unlessEmpty((value) => value === ''))
  .exactOptional();
/** Text that is one of these, or empty. */
export const oneOf = <const Words extends readonly [string, ...string[]]>(words: Words) =>
  z
    .enum(['', ...words])
    .transform((value) => (value === '' ? undefined : (value as Words[number])))
    .exactOptional();
/** A boolean whose false is the same as nothing. */
export const flag = z
  .boolean()
  .transform((value) => (value ? (true as const) : undefined))
  .exactOptional();
/** A whole number whose 0 is the same as nothing. */
export const count = z
  .int()
  .transform(unlessEmpty((value) => value === 0))
  .exactOptional();
/** A whole number of which 0 is a value of its own: a pointer in Go. */
export const countOrZero = z.int().exactOptional();
/** A list; an empty one is none. */
export const listOf = <T extends z.ZodType>(item: T, max = 256) =>
  z
    .array(item)
    .max(max)
    .transform(unlessEmpty((value) => value.length === 0))
    .exactOptional();
/** Things by name; none is nothing. */
export const mapOf = <T extends z.ZodType>(item: T, max = 256) =>
  z
    .record(z.string().max(256), item)
    .refine((pairs) => Object.keys(pairs).length <= max, `holds more than ${max} elements`)
    .transform(unlessEmpty((pairs) => Object.keys(pairs).length === 0))
    .exactOptional();
/** Text that is not looked at any further. */
export const words = listOf(z.string().max(4_096));

const nanoseconds = z.union([z.string().max(64), z.int()]).transform((value, context): number => {
  const ns = typeof value === 'number' ? value : value === '' ? 0 : parseGoDuration(value);
  if (ns !== undefined) return ns;
  context.issues.push({ code: 'custom', input: value, message: `invalid duration ${JSON.stringify(value)}` });
  return z.NEVER;
});
/** A duration that Consul gives back as text: `5s`. */
export const durationText = nanoseconds
  .transform((ns) => (ns === 0 ? undefined : formatGoDuration(ns)))
  .exactOptional();
/** A duration that Consul gives back as nanoseconds, for its type has no encoder of its own. */
export const durationNs = nanoseconds.transform(unlessEmpty((ns) => ns === 0)).exactOptional();
/** As durationNs, 0 being a value of its own. */
export const durationNsOrZero = nanoseconds.exactOptional();

/** There is one namespace and one partition; Consul's community edition doesn't show them. */
export const defaultOnly = z
  .enum(['', 'default'], { error: 'the only one is "default"' })
  .transform(() => undefined)
  .exactOptional();
/** Sent back by clients that send what they read; computed here, never taken over. */
export const readOnly = z
  .unknown()
  .transform(() => undefined)
  .exactOptional();
/** What a struct of these fields is when nothing of it is said: Go shows it empty. */
export const shownWhenEmpty = <T extends z.ZodType>(schema: T) => schema.prefault({} as z.input<T>);

/** The fields of every entry. */
export const entryFields = <const Kind extends string>(kind: Kind) => ({
  Kind: z.literal(kind),
  Namespace: defaultOnly,
  Partition: defaultOnly,
  Meta: mapOf(z.string(), Number.POSITIVE_INFINITY),
  Hash: readOnly,
  CreateIndex: readOnly,
  ModifyIndex: readOnly,
});

/** A refusal in Consul's words. */
export function invalidEntry(flaw: string): ConsulError {
  return new ConsulError(400, flaw);
}

/**
 * Reads the shape of an entry.
 * @throws ConsulError 400 naming the field
 */
export function readEntry<S extends z.ZodType>(schema: S, body: unknown): z.output<S> {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.map(String).join('.')}: `;
  throw new ConsulError(400, `Request decoding failed: ${place}${issue?.message ?? 'not valid'}`);
}

/** The name of the service that an entry is about. @throws ConsulError 400 */
export function judgeServiceEntry(entry: { readonly Name: string; readonly Meta?: Meta | undefined }): void {
  if (entry.Name === '') throw invalidEntry('Name is required');
  if (!isServiceName(entry.Name)) throw invalidEntry(`Name ${JSON.stringify(entry.Name)} is not a valid service name`);
  judgeEntryMeta(entry.Meta);
}

/** The name of an entry of which there is one. @throws ConsulError 400 */
export function judgeOnlyName(given: string, only: string): void {
  if (given !== only) {
    throw invalidEntry(`invalid name (${JSON.stringify(given)}), only ${JSON.stringify(only)} is supported`);
  }
}

type Meta = Readonly<Record<string, string>>;
/** Consul's limits (metaMaxKeyPairs, metaKeyMaxLength, metaValueMaxLength). */
const metaLimits = { pairs: 64, key: 128, value: 512 };

/** @throws ConsulError 400 */
export function judgeEntryMeta(meta: Meta = {}): void {
  const pairs = Object.entries(meta);
  if (pairs.length > metaLimits.pairs) throw invalidEntry(`Meta exceeds maximum element count ${metaLimits.pairs}`);
  for (const [key, value] of pairs) {
    const shown = JSON.stringify(key.slice(0, metaLimits.key));
    if (key.length > metaLimits.key) throw invalidEntry(`Meta key ${shown} exceeds maximum length ${metaLimits.key}`);
    if (value.length > metaLimits.value)
      throw invalidEntry(`Meta value for key ${shown} exceeds maximum length ${metaLimits.value}`);
  }
}
