import { type DnsName, headerBytes, headerFlags, recordTypes } from './protocol.ts';

/** The one question of a query. */
export interface Question {
  /** In lower case: names compare without case. */
  readonly name: DnsName;
  readonly type: number;
  readonly class: number;
  /** The section as it came: the answer repeats it bit by bit, for its mix of cases may be a nonce (draft-vixie-dnsext-dns0x20). */
  readonly wire: Uint8Array;
}

/** What a query's OPT record says (RFC 6891). */
export interface Edns {
  readonly version: number;
  /** Largest UDP answer that the asker takes. */
  readonly payloadBytes: number;
}

/** A message that asks. */
export interface Query {
  readonly id: number;
  /** The second word of the header. */
  readonly flags: number;
  /** Undefined where the question can't be read, or is not exactly one: such a query is answered with a header alone. */
  readonly question: Question | undefined;
  readonly edns: Edns | undefined;
}

/** What a datagram is: to be answered, answered with FORMERR or NOTIMP, or, as no answer could be matched or an answer itself, dropped. */
export type ReadQuery =
  | { readonly kind: 'query'; readonly query: Query & { readonly question: Question } }
  | { readonly kind: 'faulty'; readonly query: Query; readonly code: 'FORMERR' | 'NOTIMP' }
  | { readonly kind: 'dropped' };

/** Records of the additional section that are looked at for the OPT record. Real queries have one or two (TSIG). */
const maxAdditional = 8;

/**
 * Reads a query strictly and in one pass: bounded by the message's length, no pointer is followed. A pointer in the first name of a message could only
 * point forwards or at the header, so it is a fault.
 */
export function readQuery(message: Uint8Array): ReadQuery {
  if (message.length < headerBytes) return { kind: 'dropped' };
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const id = view.getUint16(0);
  const flags = view.getUint16(2);
  if ((flags & headerFlags.response) !== 0) return { kind: 'dropped' };
  const faulty = (code: 'FORMERR' | 'NOTIMP', question?: Question): ReadQuery => ({
    kind: 'faulty',
    query: { id, flags, question, edns: undefined },
    code,
  });
  if ((flags & headerFlags.opcode) !== 0) return faulty('NOTIMP');
  // One question, no answers: more than one was never defined (RFC 9619).
  if (view.getUint16(4) !== 1 || view.getUint32(6) !== 0) return faulty('FORMERR');
  const question = readQuestion(message, view);
  if (question === undefined) return faulty('FORMERR');
  const additional = readAdditional(message, view, headerBytes + question.wire.length, view.getUint16(10));
  if (additional === undefined) return faulty('FORMERR', question);
  return { kind: 'query', query: { id, flags, question, edns: additional.edns } };
}

function readQuestion(message: Uint8Array, view: DataView): Question | undefined {
  const name: string[] = [];
  let offset = headerBytes;
  for (;;) {
    const length = message[offset];
    if (length === undefined || length > 63) return undefined;
    offset += 1;
    if (length === 0) break;
    let label = '';
    for (const end = offset + length; offset < end; offset++) {
      const byte = message[offset];
      if (byte === undefined) return undefined;
      label += String.fromCharCode(byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);
    }
    name.push(label);
    if (offset - headerBytes > 254) return undefined;
  }
  if (offset + 4 > message.length) return undefined;
  return {
    name,
    type: view.getUint16(offset),
    class: view.getUint16(offset + 2),
    wire: message.subarray(headerBytes, offset + 4),
  };
}

/** @returns the OPT record if there is one; undefined when the section is malformed, has two, or does not end where the message does. */
function readAdditional(
  message: Uint8Array,
  view: DataView,
  start: number,
  count: number,
): { readonly edns: Edns | undefined } | undefined {
  if (count > maxAdditional) return undefined;
  let offset = start;
  let edns: Edns | undefined;
  for (let index = 0; index < count; index++) {
    const isRoot = message[offset] === 0;
    const fixed = skipName(message, offset);
    if (fixed === undefined || fixed + 10 > message.length) return undefined;
    const dataBytes = view.getUint16(fixed + 8);
    if (view.getUint16(fixed) === recordTypes.OPT) {
      if (edns !== undefined || !isRoot) return undefined;
      edns = { payloadBytes: view.getUint16(fixed + 2), version: view.getUint8(fixed + 5) };
    }
    offset = fixed + 10 + dataBytes;
  }
  return offset === message.length ? { edns } : undefined;
}

/** @returns the offset behind a name that need not be understood; undefined where it leaves the message. */
export function skipName(message: Uint8Array, start: number): number | undefined {
  for (let offset = start; ; ) {
    const length = message[offset];
    if (length === undefined) return undefined;
    if (length === 0) return offset + 1;
    if (length >= 0xc0) return offset + 2;
    if (length > 63 || offset - start > 254) return undefined;
    offset += 1 + length;
  }
}
