/**
 * Quotes text that came from outside for an error message: escaped as JSON, one line, at most 96 characters of it.
 * Nothing that a caller sends can break a log line or a terminal.
 */
export function quote(text: string): string {
  const shown = text.length > 96 ? `${text.slice(0, 96)}…` : text;
  return JSON.stringify(shown).replace(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
