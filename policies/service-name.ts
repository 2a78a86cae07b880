import { MeshError } from './errors/mesh-error.ts';
import { quote } from './quote.ts';

/** Longest name of a service, in bytes. */
export const maxServiceNameBytes = 128;

/** True for `[A-Za-z0-9]`, or `[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]` of at most 128 bytes: also a legal segment of a SPIFFE ID. */
export function isServiceName(text: string): boolean {
  return text.length <= maxServiceNameBytes && /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(text);
}

/**
 * Reads the name of a service, node or datacenter.
 * @returns the same text
 * @throws MeshError SLV-5002
 */
export function parseServiceName(text: string): string {
  if (!isServiceName(text)) throw new MeshError('SLV-5002', `${quote(text)} is not a valid name.`);
  return text;
}
