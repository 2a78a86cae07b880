import { stdout } from 'node:process';

const colours = stdout.isTTY === true && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';
const paint =
  (code: number) =>
  (text: string): string =>
    colours ? `\u001b[${code}m${text}\u001b[0m` : text;

export const bold = paint(1);
export const dim = paint(2);
export const red = paint(31);
export const green = paint(32);
export const cyan = paint(36);

/** One line of the story. */
export function tell(text = ''): void {
  stdout.write(`${text}\n`);
}

/** What the story shows of a step: indented, dimmed. */
export function show(text: string): void {
  for (const line of text.trimEnd().split('\n')) tell(`    ${dim(line)}`);
}

/** A command as a user would type it. */
export function typed(command: string): void {
  tell(`    ${cyan('$')} ${command}`);
}

/** Rewrites one line in place while something takes its time; plain lines where there is no terminal. */
export class Progress {
  #last = '';

  update(text: string): void {
    if (text === this.#last) return;
    this.#last = text;
    if (colours) stdout.write(`\r\u001b[2K    ${dim(text)}`);
  }

  done(): void {
    if (colours && this.#last !== '') stdout.write('\r\u001b[2K');
  }
}
