import { z } from 'zod';
import { ConsulError } from './consul-error.ts';

/** Older or other spellings of a field that Consul takes: by lower-case spelling, the field. */
export type Aliases = Readonly<Record<string, string>>;

const defaultFailure = 'Request decode failed';

/** How a body is read. */
export interface DecodeOptions {
  readonly aliases?: Aliases;
  /** How Consul begins the message; default `Request decode failed`. */
  readonly failure?: string;
}

/**
 * Reads a body as Consul does: Go's encoding/json takes keys in any case and null for "not given". A key given twice in different spellings is
 * refused here, where Go takes the last: two readers of one body must not see two things. Unknown keys are for the schema to refuse or ignore.
 *
 * @throws ConsulError 400
 */
export function decodeBody<S extends z.ZodType>(schema: S, body: Uint8Array, options: DecodeOptions = {}): z.output<S> {
  return decodeValue(schema, parseJson(body, options.failure), options);
}

/** As decodeBody, of what was parsed already. */
export function decodeValue<S extends z.ZodType>(schema: S, value: unknown, options: DecodeOptions = {}): z.output<S> {
  const parsed = schema.safeParse(foldKeys(schema, value, options.aliases));
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.map(String).join('.')}: `;
  throw new ConsulError(400, `${options.failure ?? defaultFailure}: ${place}${issue?.message ?? 'not valid'}`);
}

/** Deepest nesting that is read. What is kept as it came (a proxy's Config) is walked later by functions that call themselves; Go stops at 10,000. */
const maxDepth = 128;

/** JSON in strict UTF-8, not nested too deep. Throws ConsulError 400. */
export function parseJson(body: Uint8Array, failure = defaultFailure): unknown {
  if (depthOf(body) > maxDepth) throw new ConsulError(400, `${failure}: exceeded max depth`);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (error) {
    throw new ConsulError(400, `${failure}: ${error instanceof Error ? error.message : 'not JSON'}`);
  }
}

const [quote, backslash] = [0x22, 0x5c];
/** `[` and `{` go down, `]` and `}` come up. */
const steps = new Map([
  [0x5b, 1],
  [0x7b, 1],
  [0x5d, -1],
  [0x7d, -1],
]);

/** @returns how deep the brackets of JSON are nested, those in strings left out; of other text some number */
function depthOf(json: Uint8Array): number {
  let [depth, deepest, inString] = [0, 0, false];
  for (let at = 0; at < json.length; at++) {
    const byte = json[at] ?? 0;
    if (byte === quote) inString = !inString;
    else if (inString) at += byte === backslash ? 1 : 0;
    else if (byte >= 0x5b) {
      depth += steps.get(byte) ?? 0;
      deepest = Math.max(deepest, depth);
    }
  }
  return deepest;
}

/** Spells known keys as the schema does and drops their nulls; unknown keys stay. Throws ConsulError 400 for a key given twice. */
export function foldKeys(schema: unknown, value: unknown, aliases: Aliases = {}): unknown {
  const inner = unwrap(schema);
  if (inner instanceof z.ZodArray && Array.isArray(value))
    return value.map((item) => foldKeys(inner.element, item, aliases));
  if (!(inner instanceof z.ZodObject) || value === null || typeof value !== 'object' || Array.isArray(value))
    return value;
  const shape: Readonly<Record<string, unknown>> = inner.shape;
  const spelling = new Map(Object.keys(shape).map((key) => [key.toLowerCase(), key]));
  const folded = new Map<string, unknown>();
  for (const [key, item] of Object.entries(value)) {
    const lower = key.toLowerCase();
    const alias = Object.hasOwn(aliases, lower) ? aliases[lower] : undefined;
    const known = spelling.get(lower) ?? (alias !== undefined && Object.hasOwn(shape, alias) ? alias : undefined);
    if (known === undefined) folded.set(key, item);
    else if (folded.has(known)) throw new ConsulError(400, `${defaultFailure}: ${known} is given twice`);
    else folded.set(known, item === null ? undefined : foldKeys(shape[known], item, aliases));
  }
  return Object.fromEntries(folded);
}

function unwrap(schema: unknown): unknown {
  let inner = schema;
  while (
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodNullable
  ) {
    inner = inner.unwrap();
  }
  return inner;
}
