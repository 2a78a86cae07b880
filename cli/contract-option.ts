import type { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';

/**
 * What a field of a contract takes, as the parser of an option: what the service would refuse is refused with the name of the flag, and nothing is sent.
 * The parser throws MeshError SLV-1002.
 */
export function fieldOf<S extends z.ZodType>(schema: S): (text: string) => z.output<S> {
  return (text) => {
    const parsed = schema.safeParse(text);
    if (parsed.success) return parsed.data;
    throw new MeshError('SLV-1002', `${quote(text)}: ${parsed.error.issues[0]?.message ?? 'not possible'}`);
  };
}
