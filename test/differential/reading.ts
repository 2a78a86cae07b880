import { createHash } from 'node:crypto';
import { z } from 'zod';
import { forwardableHeaders } from '#edge-proxy/http1/forwardable-headers.ts';
import { pushHost } from '#edge-proxy/http1/head-encoder.ts';
import type { RequestHead } from '#edge-proxy/http1/message.ts';
import type { Recorded } from '#edge-proxy/http1/recorder.ts';
import { canonicaliseTarget } from '#policies/canonical-request.ts';
import { spiffeIdOf } from '../sidecars.ts';

const echoSchema = z.object({
  method: z.string(),
  target: z.string(),
  path: z.string().optional(),
  headers: z.array(z.tuple([z.string(), z.string()])),
  bytes: z.number(),
  sha256: z.string(),
});

/** How one server reads one request. All text holds a byte a character. */
export interface Reading {
  readonly method: string;
  readonly target: string;
  /** What the server resolves the target to: escapes decoded. Undefined: it does not say. */
  readonly path: string | undefined;
  /** `name: value` in lower-case names, by name, of one name in the order sent; without those that frame the message or are the hop's own. */
  readonly headers: readonly string[];
  readonly bytes: number;
  readonly sha256: string;
}

/** Headers of the hop: what they said shows in the body and in the number of requests. `x-nginx-uri` is how nginx tells its path. */
const ofTheHop = /^(content-length|transfer-encoding|connection|upgrade|x-nginx-uri)$/i;

/** Reads the X-Echo of a server. */
export function readEcho(base64: string): Reading {
  const { path, ...echo } = echoSchema.parse(JSON.parse(Buffer.from(base64, 'base64').toString()));
  const nginxPath = echo.headers.find(([name]) => name.toLowerCase() === 'x-nginx-uri')?.[1];
  return { ...echo, path: nginxPath ?? path, headers: comparable(echo.headers) };
}

/** What the X-Echo of a server in JavaScript holds. */
export function encodeEcho(read: Pick<Reading, 'method' | 'target'> & { rawHeaders: readonly string[] }, body: Buffer) {
  const { method, target, rawHeaders } = read;
  const echo: z.infer<typeof echoSchema> = { method, target, headers: pairs(rawHeaders), ...digest(body) };
  return Buffer.from(JSON.stringify(echo)).toString('base64');
}

/** How the application behind our proxies reads what they send it. */
export function ownReading({ head, body }: Recorded<RequestHead>): Reading {
  return reading(head.method, head.target, pairs(head.headers), body);
}

/** As what a request has to reach the application, by how we read it where it came in. Undefined: it must not. */
export function forwardedReading({ head, body, complete }: Recorded<RequestHead>): Reading | undefined {
  const target = head.target === '*' ? { ok: true as const, path: '*', query: '' } : canonicaliseTarget(head.target);
  if (!complete || !target.ok) return undefined;
  const headers = forwardableHeaders(head);
  pushHost(headers, head, 'db');
  if (head.minorVersion === 0 && !headers.some((name, at) => at % 2 === 0 && name.toLowerCase() === 'host'))
    headers.push('host', head.host ?? 'db');
  const [own, peer] = [spiffeIdOf('db'), spiffeIdOf('web')];
  headers.push('selvedge-source', peer, 'x-forwarded-client-cert', `By=${own};URI=${peer}`);
  return reading(head.method, target.path + target.query, pairs(headers), body);
}

function reading(method: string, target: string, headers: readonly Header[], body: string): Reading {
  const path = decoded(target.replace(/\?.*$/, ''));
  return { method, target, path, headers: comparable(headers), ...digest(Buffer.from(body, 'latin1')) };
}

type Header = readonly [name: string, value: string];

function pairs(flat: readonly string[]): [name: string, value: string][] {
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index] ?? '', flat[2 * index + 1] ?? '']);
}

function comparable(headers: readonly Header[]): string[] {
  const kept = headers.filter(([name]) => !ofTheHop.test(name)).map(([name, value]) => [name.toLowerCase(), value]);
  kept.sort(([a = ''], [b = '']) => (a < b ? -1 : a > b ? 1 : 0));
  return kept.map((header) => header.join(': '));
}

function decoded(path: string): string {
  return path.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

function digest(body: Buffer): Pick<Reading, 'bytes' | 'sha256'> {
  return { bytes: body.length, sha256: createHash('sha256').update(body).digest('hex') };
}
