import type { DnsName } from './protocol.ts';

/** A resource record to be written. `owner` undefined: the name of the question, which is written as a pointer to it and so keeps its case. */
export type DnsRecord = { readonly owner: DnsName | undefined; readonly ttlSeconds: number } & RecordData;

/** What a record says. Addresses are bytes: 4 or 16 of them. */
export type RecordData =
  | { readonly type: 'A' | 'AAAA'; readonly address: Uint8Array }
  | { readonly type: 'NS' | 'CNAME' | 'PTR'; readonly target: DnsName }
  | {
      readonly type: 'SRV';
      readonly priority: number;
      readonly weight: number;
      readonly port: number;
      readonly target: DnsName;
    }
  | { readonly type: 'TXT'; readonly text: string }
  | {
      readonly type: 'SOA';
      readonly server: DnsName;
      readonly mailbox: DnsName;
      readonly serial: number;
      readonly refresh: number;
      readonly retry: number;
      readonly expire: number;
      readonly minimum: number;
    };

/** An address record of whichever family `address` is. */
export function addressRecord(owner: DnsName | undefined, address: Uint8Array, ttlSeconds: number): DnsRecord {
  return { owner, ttlSeconds, type: address.length === 4 ? 'A' : 'AAAA', address };
}

/**
 * A host name or absolute name as text, in labels. @returns undefined for what can't be one: a label that is empty or over 63 bytes, more than 255 bytes
 * in all, or anything but printable ASCII.
 */
export function parseDnsName(text: string): DnsName | undefined {
  const labels = text.replace(/\.$/, '').split('.');
  const fits = labels.every((label) => /^[\x21-\x7e]{1,63}$/.test(label));
  return fits && text.length <= 253 ? labels : undefined;
}
