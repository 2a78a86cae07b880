import { z } from 'zod';
import { MeshError } from './errors/mesh-error.ts';
import { nearestWord } from './nearest-word.ts';
import { quote } from './quote.ts';

/**
 * A zod object whose keys are read as Consul's decoders read them: without regard to case, with or without underscores (`PathExact`, `pathexact`,
 * `path_exact`); null is absent. Unknown keys are refused under the spelling that was sent, and so is a key that comes twice in two spellings.
 */
export function consulObject<Shape extends z.ZodRawShape>(shape: Shape) {
  const names = new Map(Object.keys(shape).map((name) => [foldKey(name), name]));
  return z.preprocess((value, context) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    const fields = new Map<string, unknown>();
    for (const [key, field] of Object.entries(value)) {
      const name = names.get(foldKey(key));
      if (name === undefined) {
        context.addIssue({ code: 'custom', message: unknownField(key, [...names.values()]), input: value });
        return z.NEVER;
      }
      if (fields.has(name))
        context.addIssue({ code: 'custom', message: `the field ${name} comes twice`, input: value });
      if (field !== null && field !== undefined) fields.set(name, field);
    }
    return Object.fromEntries(fields);
  }, z.strictObject(shape));
}

/**
 * Parses with a consulObject.
 * @param place what comes before each field in messages: '' or `Sources[0].`
 * @throws MeshError SLV-5004 naming the first wrong field
 */
export function parseConsul<Schema extends z.ZodType>(schema: Schema, value: unknown, place: string): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  if (issue === undefined) throw invalidIntention(`${place}: not valid`);
  const path = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  const field = `${place}${path.replace(/^\./, '')}` || 'the body';
  throw invalidIntention(`${field}: ${issue.message}`);
}

/** SLV-5004 with one sentence. */
export function invalidIntention(flaw: string): MeshError {
  return new MeshError('SLV-5004', `${flaw}.`);
}

function unknownField(key: string, known: readonly string[]): string {
  const nearest = nearestWord(key, known);
  return `unknown field ${quote(key)}${nearest === undefined ? '' : `, did you mean ${nearest}?`}`;
}

function foldKey(key: string): string {
  return key.replaceAll('_', '').toLowerCase();
}
