import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';

/** A parser that throws MeshErrors, as a zod transform: what it says becomes the fault of that place. */
export function checked<T>(
  parse: (text: string) => T,
): (text: string, context: { issues: z.core.$ZodRawIssue[] }) => T {
  return (text, context) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      context.issues.push({ code: 'custom', input: text, message: error.message });
      return z.NEVER;
    }
  };
}

/**
 * Reads what stands under one key of the configuration file.
 *
 * @throws MeshError SLV-1002 naming each place that is wrong, and what is
 */
export function parseStructure<T>(key: string, schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${key}.${path.join('.')}: ${message}`);
  throw new MeshError('SLV-1002', faults.join('; '));
}
