/** What stands for a segment that looks like the name of one thing. */
export const placeholder = '{}';

const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const number = /^[0-9]+$/;
/** Longer words are names of things, tokens or hashes. */
const maxWordLength = 24;
const maxSegments = 12;

/**
 * Folds a path to its shape, so that a service with a million orders has one line for them: segments that are numbers, UUIDs, long, or a mix of letters and digits
 * as ids are, become `{}`. What is left of a long path is cut.
 * @param path canonical (canonical-request.ts)
 */
export function pathTemplate(path: string): string {
  const segments = path.split('/');
  const folded = segments.slice(0, maxSegments + 1).map((segment) => (isName(segment) ? placeholder : segment));
  return segments.length > maxSegments + 1 ? `${folded.join('/')}/…` : folded.join('/');
}

function isName(segment: string): boolean {
  if (segment.length > maxWordLength || number.test(segment) || uuid.test(segment)) return true;
  const digits = segment.replace(/[^0-9]/g, '').length;
  return segment.includes('%') || (segment.length >= 8 && digits >= 3);
}
