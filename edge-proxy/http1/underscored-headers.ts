import { headerKind, OTHER } from './header-kind.ts';

/** Leaves out every header with an underscore in its name. @param headers flat: name, value, … */
export function withoutUnderscores(headers: readonly string[]): string[] {
  return filtered(headers, () => false);
}

/**
 * Leaves out those that who reads `_` as `-` would take for framing, for something of the hop, or for who calls: `Content_Length`, `Selvedge_Source`.
 * @param headers flat: name, value, …
 */
export function withHarmlessUnderscores(headers: readonly string[]): string[] {
  return filtered(headers, (name) => headerKind(name.replaceAll('_', '-')) === OTHER);
}

function filtered(headers: readonly string[], passes: (name: string) => boolean): string[] {
  const kept: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string;
    if (!name.includes('_') || passes(name)) kept.push(name, headers[at + 1] as string);
  }
  return kept;
}
