import { type DnsName, headerBytes, headerFlags, type ResponseCode, recordTypes, responseCodes } from './protocol.ts';
import type { Query } from './query.ts';
import type { DnsRecord } from './records.ts';

/** What a query is answered with. */
export interface Answer {
  readonly code: ResponseCode;
  readonly authoritative: boolean;
  readonly answers: readonly DnsRecord[];
  readonly authority: readonly DnsRecord[];
  /** Nice to have: what does not fit is left out. */
  readonly additional: readonly DnsRecord[];
}

/** How an answer is written. */
export interface WriteOptions {
  /** The message is no longer than this. */
  readonly maxBytes: number;
  readonly recursionAvailable: boolean;
  /** Tells with EDNS that the answer may be old (RFC 8914, code 3). */
  readonly stale: boolean;
}

/** An answer without records. */
export function emptyAnswer(code: ResponseCode): Answer {
  return { code, authoritative: false, answers: [], authority: [], additional: [] };
}

/** UDP payload that we say we take: what passes Ethernet and tunnels unfragmented (DNS flag day 2020). Queries to us are far smaller. */
const ownPayloadBytes = 1_232;
/** Names can be pointed at up to here (14 bits). */
const maxPointer = 0x3fff;
const optBytes = 11;
const staleOption = Uint8Array.of(0, 15, 0, 2, 0, 3);

/** Reused: an answer is written in one go and copied out. */
const scratch = Buffer.allocUnsafe(65_535);

/**
 * Writes an answer. Owner names are compressed, names within records are not (RFC 2782 for SRV; RFC 3597 4 for what is newer than RFC 1035). If the answer
 * section does not fit, it is cut between two records and TC is set; a cut in what is additional sets nothing (RFC 2181 9).
 */
export function writeAnswer(query: Query, answer: Answer, options: WriteOptions): Uint8Array {
  const optSize = query.edns === undefined ? 0 : optBytes + (options.stale ? staleOption.length : 0);
  const writer = new RecordWriter(Math.min(options.maxBytes, scratch.length) - optSize);
  if (query.question !== undefined) writer.bytes(query.question.wire);
  const answers = writer.section(answer.answers);
  const truncated = answers < answer.answers.length;
  const authority = truncated ? 0 : writer.section(answer.authority);
  const additional = authority < answer.authority.length ? 0 : writer.section(answer.additional);
  const code = responseCodes[answer.code];
  if (query.edns !== undefined) writer.opt(code >> 4, options.stale);
  const { recursionDesired, checkingDisabled, opcode } = headerFlags;
  scratch.writeUInt16BE(query.id, 0);
  scratch.writeUInt16BE(
    headerFlags.response |
      (query.flags & (recursionDesired | checkingDisabled | opcode)) |
      (answer.authoritative ? headerFlags.authoritative : 0) |
      (truncated ? headerFlags.truncated : 0) |
      (options.recursionAvailable ? headerFlags.recursionAvailable : 0) |
      (code & 0xf),
    2,
  );
  scratch.writeUInt16BE(query.question === undefined ? 0 : 1, 4);
  scratch.writeUInt16BE(answers, 6);
  scratch.writeUInt16BE(authority, 8);
  scratch.writeUInt16BE(additional + (query.edns === undefined ? 0 : 1), 10);
  return Uint8Array.prototype.slice.call(scratch, 0, writer.end);
}

/** The answer to an asker over UDP that must come by TCP: nothing but TC. */
export function writeTruncated(query: Query): Uint8Array {
  const message = writeAnswer(query, emptyAnswer('NOERROR'), {
    maxBytes: scratch.length,
    recursionAvailable: false,
    stale: false,
  });
  message[2] = (message[2] ?? 0) | (headerFlags.truncated >> 8);
  return message;
}

/** Writes records behind one another into the scratch, up to a limit. */
class RecordWriter {
  end = headerBytes;
  readonly #limit: number;
  /** Where names of records stand, to point at. By identity: whoever makes records of one name uses one array, and no name is put together here. */
  readonly #names = new Map<DnsName, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  bytes(bytes: Uint8Array): void {
    scratch.set(bytes, this.end);
    this.end += bytes.length;
  }

  /** @returns how many fitted */
  section(records: readonly DnsRecord[]): number {
    for (const [index, record] of records.entries()) {
      const start = this.end;
      // No record is larger than its texts; what could leave the scratch is not begun.
      if (start + sizeBound(record) > scratch.length || !this.#record(record)) {
        this.end = start;
        return index;
      }
    }
    return records.length;
  }

  opt(extendedCode: number, stale: boolean): void {
    scratch[this.end] = 0;
    scratch.writeUInt16BE(recordTypes.OPT, this.end + 1);
    scratch.writeUInt16BE(ownPayloadBytes, this.end + 3);
    scratch.writeUInt32BE(extendedCode * 0x1000000, this.end + 5);
    scratch.writeUInt16BE(stale ? staleOption.length : 0, this.end + 9);
    this.end += optBytes;
    if (stale) this.bytes(staleOption);
  }

  /** @returns whether it fitted */
  #record(record: DnsRecord): boolean {
    this.#owner(record.owner);
    this.#word(recordTypes[record.type]);
    this.#word(1);
    this.#long(record.ttlSeconds);
    const lengthAt = this.end;
    this.end += 2;
    this.#data(record);
    scratch.writeUInt16BE(this.end - lengthAt - 2, lengthAt);
    return this.end <= this.#limit;
  }

  #data(record: DnsRecord): void {
    switch (record.type) {
      case 'A':
      case 'AAAA':
        this.bytes(record.address);
        break;
      case 'NS':
      case 'CNAME':
      case 'PTR':
        this.#name(record.target);
        break;
      case 'SRV':
        this.#word(record.priority);
        this.#word(record.weight);
        this.#word(record.port);
        this.#name(record.target);
        break;
      case 'TXT':
        this.#text(record.text);
        break;
      case 'SOA':
        this.#name(record.server);
        this.#name(record.mailbox);
        for (const value of [record.serial, record.refresh, record.retry, record.expire, record.minimum])
          this.#long(value);
        break;
    }
  }

  #owner(name: DnsName | undefined): void {
    const at = name === undefined ? headerBytes : this.#names.get(name);
    if (at !== undefined) this.#word(0xc000 | at);
    else this.#name(name ?? []);
  }

  #name(name: DnsName): void {
    if (this.end <= maxPointer && name.length > 0) this.#names.set(name, this.end);
    for (const label of name) {
      scratch[this.end++] = label.length;
      for (let index = 0; index < label.length; index++) scratch[this.end++] = label.charCodeAt(index);
    }
    scratch[this.end++] = 0;
  }

  /** Character strings of at most 255 bytes (RFC 1035 3.3). */
  #text(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    for (let from = 0; from === 0 || from < bytes.length; from += 255) {
      const part = bytes.subarray(from, from + 255);
      scratch[this.end++] = part.length;
      this.bytes(part);
    }
  }

  #word(value: number): void {
    scratch.writeUInt16BE(value, this.end);
    this.end += 2;
  }

  #long(value: number): void {
    scratch.writeUInt32BE(value >>> 0, this.end);
    this.end += 4;
  }
}

/** More than any record takes: three names and the fixed fields, or a text. */
function sizeBound(record: DnsRecord): number {
  return record.type === 'TXT' ? 512 + record.text.length * 5 : 1_024;
}
