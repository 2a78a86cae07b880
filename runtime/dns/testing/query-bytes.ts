/** The bytes of a query, as a stub resolver would send it. `payloadBytes`: with EDNS. */
export function queryBytes(query: {
  readonly name: readonly string[];
  readonly type: number;
  readonly id?: number;
  readonly payloadBytes?: number;
  readonly recursionDesired?: boolean;
}): Buffer {
  const { name, type, id = 0x1234, payloadBytes, recursionDesired = true } = query;
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(recursionDesired ? 0x0100 : 0, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(payloadBytes === undefined ? 0 : 1, 10);
  const labels = name.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]);
  const opt = Buffer.from('0000290000000000000000', 'hex');
  opt.writeUInt16BE(payloadBytes ?? 0, 3);
  return Buffer.concat([
    header,
    ...labels,
    Buffer.from([0, type >> 8, type & 0xff, 0, 1]),
    payloadBytes === undefined ? Buffer.alloc(0) : opt,
  ]);
}
