import { MeshError } from '#policies/errors/mesh-error.ts';
import { type ChainPosition, chainStart, maxLineBytes, readLine } from './audit-chain.ts';

/** A log, or a part of one, that verifies. */
export interface VerifiedLog {
  readonly lines: number;
  /** Sequence of its first line; more than 1 in a file that was begun by rotation. Undefined when there is none. */
  readonly first?: number;
  /** Where its chain ends: what the next file goes on from. */
  readonly end: ChainPosition;
  /** Times of the first and the last line. */
  readonly from?: string;
  readonly to?: string;
  /** Bytes behind the last whole line: of a write under way, or of a crash, and then cut off at the next start. */
  readonly tornBytes: number;
}

/**
 * Checks a whole log, of any size, piece by piece.
 *
 * @param after where the file before this one ended; undefined: a first line beyond 1 is taken as the beginning
 * @throws MeshError SLV-2151 naming the first line that does not fit, and how
 */
export async function verifyAuditLog(
  content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  after?: ChainPosition,
): Promise<VerifiedLog> {
  const check = new ChainCheck(after);
  let rest = Buffer.alloc(0);
  for await (const piece of content) {
    let bytes = rest.length === 0 ? Buffer.from(piece) : Buffer.concat([rest, piece]);
    for (let end = bytes.indexOf(0x0a); end !== -1; end = bytes.indexOf(0x0a)) {
      check.take(bytes.toString('utf8', 0, end));
      bytes = bytes.subarray(end + 1);
    }
    if (bytes.length > maxLineBytes) throw check.tooLong();
    rest = bytes;
  }
  return check.result(rest.length);
}

class ChainCheck {
  #lines = 0;
  #first: { readonly sequence: number; readonly time: string } | undefined;
  #lastTime: string | undefined;
  #at: ChainPosition | undefined;

  constructor(after: ChainPosition | undefined) {
    this.#at = after;
  }

  take(text: string): void {
    this.#lines += 1;
    const line = readLine(text);
    if (line === undefined) throw this.#broken('it is no line of an audit log, or was changed: its hash does not fit');
    const { sequence, previous, hash, time } = line;
    this.#at ??= sequence === 1 ? chainStart : { sequence: sequence - 1, hash: previous };
    if (sequence !== this.#at.sequence + 1) throw this.#broken(gap(this.#at.sequence, sequence));
    if (previous !== this.#at.hash) throw this.#broken('the line before it is another one than when it was written');
    this.#first ??= { sequence, time };
    this.#lastTime = time;
    this.#at = { sequence, hash };
  }

  /** The next line has no end. */
  tooLong(): MeshError {
    this.#lines += 1;
    return this.#broken('it is longer than any line of an audit log');
  }

  result(tornBytes: number): VerifiedLog {
    return {
      lines: this.#lines,
      ...(this.#first === undefined ? {} : { first: this.#first.sequence, from: this.#first.time }),
      ...(this.#lastTime === undefined ? {} : { to: this.#lastTime }),
      end: this.#at ?? chainStart,
      tornBytes,
    };
  }

  #broken(how: string): MeshError {
    const line = this.#lines;
    return new MeshError('SLV-2151', `Line ${line} of the audit log does not fit the chain: ${how}.`, {
      detail: { line, sequence: (this.#at?.sequence ?? 0) + 1 },
    });
  }
}

function gap(last: number, found: number): string {
  if (found <= last) return `it has the sequence ${found}, which was there before`;
  const missing = found - last - 1;
  return `${missing} ${missing === 1 ? 'line is' : 'lines are'} missing before it, from sequence ${last + 1}`;
}
