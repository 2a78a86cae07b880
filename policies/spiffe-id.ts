import { MeshError } from './errors/mesh-error.ts';
import { quote } from './quote.ts';

/** A checked SPIFFE ID, `spiffe://trust-domain[/path]`: compare with `===`, never re-parse. */
export type SpiffeId = string & { readonly __spiffeId: true };
/** A checked trust domain name, without scheme: `mesh.example`. */
export type TrustDomain = string & { readonly __trustDomain: true };

/** What the ID of a service says, in Consul's form `spiffe://<td>/ns/<namespace>/dc/<datacenter>/svc/<service>`. */
export interface ServiceIdentity {
  readonly trustDomain: TrustDomain;
  readonly namespace: string;
  readonly datacenter: string;
  readonly service: string;
}

/** Longest SPIFFE ID in bytes (SPIFFE-ID.md 2.3). */
export const maxSpiffeIdBytes = 2_048;
/** Longest trust domain name in bytes (SPIFFE-ID.md 2.1). */
export const maxTrustDomainBytes = 255;

const scheme = 'spiffe://';
const slash = 0x2f;

/**
 * Reads a SPIFFE ID to the letter of SPIFFE-ID.md, as strictly as go-spiffe and in its words: lower-case scheme and trust domain, no port, user,
 * query, fragment, percent-encoding, empty or dot segment, trailing slash. By hand, because `new URL` repairs what must be refused.
 * @throws MeshError SLV-5001 naming the rule
 */
export function parseSpiffeId(text: string): SpiffeId {
  const flaw = flawOfSpiffeId(text);
  if (flaw !== undefined) throw new MeshError('SLV-5001', `${quote(text)} is not a SPIFFE ID: ${flaw}.`);
  return text as SpiffeId;
}

/**
 * Reads a bare trust domain name.
 * @throws MeshError SLV-5001
 */
export function parseTrustDomain(text: string): TrustDomain {
  const flaw = flawOfTrustDomain(text, 0, text.length);
  if (flaw !== undefined) throw new MeshError('SLV-5001', `${quote(text)} is not a trust domain: ${flaw}.`);
  return text as TrustDomain;
}

/** @returns the trust domain of an ID. */
export function trustDomainOf(id: SpiffeId): TrustDomain {
  const end = id.indexOf('/', scheme.length);
  return id.slice(scheme.length, end < 0 ? id.length : end) as TrustDomain;
}

/** @returns the path of an ID with its leading `/`, or '' for the ID of a trust domain. */
export function pathOf(id: SpiffeId): string {
  const start = id.indexOf('/', scheme.length);
  return start < 0 ? '' : id.slice(start);
}

/**
 * Makes the ID of a service.
 * @throws MeshError SLV-5001 when a part is no valid path segment
 */
export function serviceSpiffeId(parts: ServiceIdentity): SpiffeId {
  for (const [name, part] of [
    ['namespace', parts.namespace],
    ['datacenter', parts.datacenter],
    ['service', parts.service],
  ] as const) {
    if (part === '' || part.includes('/')) {
      throw new MeshError('SLV-5001', `The ${name} ${quote(part)} cannot be a segment of a SPIFFE ID.`);
    }
  }
  return parseSpiffeId(
    `${scheme}${parts.trustDomain}/ns/${parts.namespace}/dc/${parts.datacenter}/svc/${parts.service}`,
  );
}

/** @returns what a service's ID says, or undefined when the ID is not of that form. */
export function serviceIdentityOf(id: SpiffeId): ServiceIdentity | undefined {
  const [, ns, namespace, dc, datacenter, svc, service, ...more] = pathOf(id).split('/');
  if (ns !== 'ns' || dc !== 'dc' || svc !== 'svc' || more.length > 0) return undefined;
  if (namespace === undefined || datacenter === undefined || service === undefined) return undefined;
  return { trustDomain: trustDomainOf(id), namespace, datacenter, service };
}

/** The rule that a text breaks, in go-spiffe's words; undefined for a SPIFFE ID. */
export function flawOfSpiffeId(text: string): string | undefined {
  if (text === '') return 'cannot be empty';
  // Every accepted character is one byte, so length in UTF-16 units is length in bytes for all that passes.
  if (text.length > maxSpiffeIdBytes) return `cannot be longer than ${maxSpiffeIdBytes} bytes`;
  if (!text.startsWith(scheme)) return 'scheme is missing or invalid';
  const pathAt = text.indexOf('/', scheme.length);
  const end = pathAt < 0 ? text.length : pathAt;
  return flawOfTrustDomain(text, scheme.length, end) ?? flawOfPath(text, end);
}

function flawOfTrustDomain(text: string, start: number, end: number): string | undefined {
  if (end === start) return 'trust domain is missing';
  if (end - start > maxTrustDomainBytes) return `trust domain cannot be longer than ${maxTrustDomainBytes} bytes`;
  for (let at = start; at < end; at++) {
    const code = text.charCodeAt(at);
    if (!isLower(code) && !isDigitOrMark(code)) {
      return 'trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores';
    }
  }
  return undefined;
}

/** `start` is at the path's leading slash, or at the end of the text where there is no path. */
function flawOfPath(text: string, start: number): string | undefined {
  let segment = start;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === slash) {
      if (at > start) {
        const flaw = flawOfSegment(text, segment + 1, at);
        if (flaw !== undefined) return flaw;
      }
      segment = at;
    } else if (!isLower(code) && !isUpper(code) && !isDigitOrMark(code)) {
      return 'path segment characters are limited to letters, numbers, dots, dashes, and underscores';
    }
  }
  if (segment === text.length) return undefined;
  if (segment + 1 === text.length) return 'path cannot have a trailing slash';
  return flawOfSegment(text, segment + 1, text.length);
}

function flawOfSegment(text: string, start: number, end: number): string | undefined {
  if (start === end) return 'path cannot contain empty segments';
  const segment = end - start <= 2 ? text.slice(start, end) : '';
  return segment === '.' || segment === '..' ? 'path cannot contain dot segments' : undefined;
}

function isLower(code: number): boolean {
  return code >= 0x61 && code <= 0x7a;
}

function isUpper(code: number): boolean {
  return code >= 0x41 && code <= 0x5a;
}

/** `0-9 - . _` */
function isDigitOrMark(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || code === 0x2d || code === 0x2e || code === 0x5f;
}
