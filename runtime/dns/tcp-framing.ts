/** DNS over TCP: each message stands behind its length in two bytes (RFC 1035 4.2.2). */

/** @returns whole messages, and the bytes of one that has not all come */
export function splitFrames(bytes: Buffer): { readonly frames: readonly Buffer[]; readonly rest: Buffer } {
  const frames: Buffer[] = [];
  let offset = 0;
  while (bytes.length - offset >= 2) {
    const end = offset + 2 + bytes.readUInt16BE(offset);
    if (end > bytes.length) break;
    frames.push(bytes.subarray(offset + 2, end));
    offset = end;
  }
  return { frames, rest: bytes.subarray(offset) };
}

/** @returns a message behind its length, in one piece: two writes would be two segments (RFC 7766 8) */
export function writeFrame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  framed.set(message, 2);
  return framed;
}
