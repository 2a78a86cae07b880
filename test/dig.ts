import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

/** `dig` (Debian's bind9-dnsutils), the judge of what a DNS server says. */

const run = promisify(execFile);

/** What `dig` understood of an answer. Records are `name type data`, sorted, names without the dot at their end. */
export interface Dug {
  /** NOERROR, NXDOMAIN, … */
  readonly status: string;
  /** aa, tc, rd, ra, … */
  readonly flags: readonly string[];
  readonly answer: readonly string[];
  readonly authority: readonly string[];
  readonly additional: readonly string[];
  readonly ttls: readonly number[];
  readonly text: string;
}

/** False, or why tests that need `dig` are skipped. In CI nothing is skipped: the tests fail instead. */
export function skipWithoutDig(): string | false {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const isThere = folders.some((folder) => {
    try {
      accessSync(join(folder, 'dig'), constants.X_OK);
      return true;
    } catch {
      return false; // not in this folder
    }
  });
  return isThere || process.env['CI'] === 'true' ? false : 'no dig on the PATH (Debian: bind9-dnsutils)';
}

/** Asks a server of this host. @param args as on the command line: name, type, `+tcp` */
export async function dig(port: number, ...args: readonly string[]): Promise<Dug> {
  const server = ['@127.0.0.1', '-p', String(port), '+tries=2', '+time=8'];
  const { stdout } = await run('dig', [
    ...server,
    '+noall',
    '+comments',
    '+answer',
    '+authority',
    '+additional',
    ...args,
  ]);
  // After a cut answer dig asks again by TCP and shows both headers; the last counts.
  const last = stdout.slice(stdout.lastIndexOf(';; ->>HEADER<<-'));
  const records = (title: string): string[][] => {
    const section = last.split(`;; ${title} SECTION:\n`)[1]?.split(/\n\n|\n;;/)[0] ?? '';
    return section.split('\n').map((line) => line.split(/\s+/));
  };
  const shown = (title: string): string[] =>
    records(title)
      .filter((fields) => fields.length > 4)
      .map(([name = '', , , ...rest]) => `${name.replace(/(.)\.$/, '$1')} ${rest.join(' ').replace(/\.$/, '')}`)
      .sort();
  return {
    status: /status: (\w+)/.exec(last)?.[1] ?? '',
    flags: (/flags: ([\w ]*);/.exec(last)?.[1] ?? '').split(' '),
    answer: shown('ANSWER'),
    authority: shown('AUTHORITY'),
    additional: shown('ADDITIONAL'),
    ttls: records('ANSWER').flatMap(([, ttl]) => (ttl === undefined ? [] : [Number(ttl)])),
    text: stdout,
  };
}
