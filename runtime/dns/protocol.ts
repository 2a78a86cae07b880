/** Numbers of the DNS (IANA, "Domain Name System Parameters"), as far as they are used here. */

/** Record types (RFC 1035, 2782, 3596, 6891). IXFR, AXFR and ANY are asked for only. */
export const recordTypes = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

/** Response codes. BADVERS needs EDNS: its upper bits travel in the OPT record. */
export const responseCodes = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;
export type ResponseCode = keyof typeof responseCodes;

export const classes = { IN: 1, ANY: 255 } as const;

/** Bits of the second word of a header (RFC 1035 4.1.1; CD: RFC 4035). */
export const headerFlags = {
  response: 0x8000,
  opcode: 0x7800,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  checkingDisabled: 0x0010,
} as const;

export const headerBytes = 12;

/** A name, label by label and without the root. Labels hold bytes as Latin-1 characters; a dot within one is a dot, not a border. */
export type DnsName = readonly string[];
