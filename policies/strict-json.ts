import { MeshError } from './errors/mesh-error.ts';
import { quote } from './quote.ts';

/**
 * Parses JSON as JSON.parse does, but refuses an object that names a key twice: of two readers one would take the first and one the last (RFC 8259 4;
 * SPIFFE asks for it of bundle maps, RFC 7515 4 of JOSE headers, RFC 7519 4 of claims).
 * @throws MeshError SLV-5009
 */
export function parseStrictJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MeshError('SLV-5009', 'It is not JSON.', { cause });
  }
  const twice = repeatedKey(text);
  if (twice !== undefined) throw new MeshError('SLV-5009', `An object has the key ${quote(twice)} twice.`);
  return value;
}

/** One token that matters: a string (with what follows it, if that is a colon: then it is a key), or the begin or end of an object. */
const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}]/g;

/** @param text valid JSON */
function repeatedKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (const [found, colon] of text.matchAll(token)) {
    if (found === '{') open.push(new Set());
    else if (found === '}') open.pop();
    else if (colon !== undefined) {
      const key: unknown = JSON.parse(found.slice(0, found.length - colon.length));
      const keys = open.at(-1);
      if (typeof key !== 'string' || keys === undefined) continue;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
