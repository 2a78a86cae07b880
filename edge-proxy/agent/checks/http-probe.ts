import type { IncomingMessage, RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { request as httpRequest } from '#runtime/node-http.ts';
import { resolveProbeHost } from '#runtime/probe-address.ts';
import type { Probe, ProbeLimits, ProbeTls } from './probe.ts';
import { sniOf } from './probe-socket.ts';

/** A request over HTTP/1.1, plain or TLS. */
export interface HttpTarget {
  readonly kind: 'http';
  readonly url: URL;
  readonly method: string;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly body: string;
  /** Used when the URL is https. */
  readonly tls: ProbeTls;
}

/** 2xx passes, 429 warns, all else is critical (Consul). Redirects are never followed: they would be requests that nobody asked for. */
export function httpProbe(target: HttpTarget, { maxOutputBytes }: ProbeLimits): Probe {
  return async (signal) => {
    const response = await send(target, signal);
    const body = await readBounded(response, maxOutputBytes);
    const code = response.statusCode ?? 0;
    const status = code >= 200 && code < 300 ? 'passing' : code === 429 ? 'warning' : 'critical';
    const answer = `${code} ${response.statusMessage ?? ''}`.trimEnd();
    return { status, output: `HTTP ${target.method} ${shownUrl(target.url)}: ${answer} Output: ${body}` };
  };
}

/** The URL without user and password, for what others see. */
export function shownUrl(url: URL): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return shown.href;
}

async function send({ url, method, headers, body, tls }: HttpTarget, signal: AbortSignal): Promise<IncomingMessage> {
  const { address, family } = await resolveProbeHost(url.hostname.replace(/^\[|\]$/g, ''), signal);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const named = Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, values.join(', ')]));
  const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  const defaults = { 'user-agent': 'Consul Health Check', accept: 'text/plain, text/*, */*', host: url.host };
  const options: RequestOptions = {
    host: address,
    family,
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
    path: `${url.pathname}${url.search}`,
    method,
    headers: { ...Object.fromEntries(Object.entries(defaults).filter(([name]) => !given.has(name))), ...named },
    ...(url.username === '' ? {} : { auth: `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}` }),
    agent: false,
    signal,
  };
  const secure = { ...options, servername: tls.serverName || sniOf(url.hostname), rejectUnauthorized: !tls.skipVerify };
  const request = url.protocol === 'https:' ? httpsRequest(secure) : httpRequest(options);
  request.once('response', resolve);
  request.on('error', reject);
  request.end(body);
  return promise;
}

async function readBounded(response: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= maxBytes) break; // Leaving the loop destroys the connection: the rest is never read.
  }
  return Buffer.concat(chunks).subarray(0, maxBytes).toString();
}
