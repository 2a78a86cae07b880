import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import type { CheckStatus, Probe } from './check-definition.ts';
import { type ProbeAddress, resolveProbeHost } from './probe-address.ts';

/** What one probe found. */
export interface ProbeResult {
  readonly status: CheckStatus;
  /** One text for people; bounded by the caller's `maxOutputBytes`. */
  readonly output: string;
}

/** How a probe is run. */
export interface ProbeLimits {
  readonly timeoutMs: number;
  readonly maxOutputBytes: number;
  readonly signal: AbortSignal;
}

/** Does one probe. Never rejects: whatever goes wrong is a critical result. */
export async function runProbe(probe: Probe, limits: ProbeLimits): Promise<ProbeResult> {
  const deadline = AbortSignal.timeout(limits.timeoutMs);
  const signal = AbortSignal.any([deadline, limits.signal]);
  try {
    return probe.kind === 'http' ? await probeHttp(probe, limits, signal) : await probeTcp(probe, signal);
  } catch (error) {
    const reason = deadline.aborted ? `no answer within ${limits.timeoutMs} ms` : reasonOf(error);
    return { status: 'critical', output: clip(`${nameOf(probe)}: ${reason}`, limits.maxOutputBytes) };
  }
}

/** 2xx passes, 429 warns, all else is critical (Consul). Redirects are never followed: they would be requests that nobody asked for. */
async function probeHttp(
  probe: Extract<Probe, { kind: 'http' }>,
  { maxOutputBytes }: ProbeLimits,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const address = await resolveProbeHost(probe.url.hostname.replace(/^\[|\]$/g, ''));
  const response = await sendHttp(probe, address, signal);
  const body = await readBounded(response, maxOutputBytes);
  const code = response.statusCode ?? 0;
  const status = code >= 200 && code < 300 ? 'passing' : code === 429 ? 'warning' : 'critical';
  const head = `${nameOf(probe)}: ${code} ${response.statusMessage ?? ''} Output: `;
  return { status, output: clip(head + body, maxOutputBytes) };
}

function sendHttp(
  { url, method, headers, body, tlsServerName, tlsSkipVerify }: Extract<Probe, { kind: 'http' }>,
  { address, family }: ProbeAddress,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const named = Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, values.join(', ')]));
  const hasHost = Object.keys(headers).some((name) => name.toLowerCase() === 'host');
  const options: RequestOptions = {
    host: address,
    family,
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
    path: `${url.pathname}${url.search}`,
    method,
    headers: {
      'user-agent': 'selvedge-check',
      accept: 'text/plain, text/*, */*',
      ...named,
      ...(hasHost ? {} : { host: url.host }),
    },
    agent: false,
    signal,
  };
  const secure = { ...options, servername: tlsServerName || nameForSni(url), rejectUnauthorized: !tlsSkipVerify };
  const request = url.protocol === 'https:' ? httpsRequest(secure) : httpRequest(options);
  request.once('response', resolve);
  request.on('error', reject);
  request.end(body);
  return promise;
}

/** RFC 6066: an address is no server name. */
function nameForSni(url: URL): string {
  return /^[\d.]+$|^\[/.test(url.hostname) ? '' : url.hostname;
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

async function probeTcp(probe: Extract<Probe, { kind: 'tcp' }>, signal: AbortSignal): Promise<ProbeResult> {
  const { address, family } = await resolveProbeHost(probe.host);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ host: address, family, port: probe.port, signal }, resolve);
  socket.on('error', reject);
  try {
    await promise;
  } finally {
    socket.destroy();
  }
  return { status: 'passing', output: `${nameOf(probe)}: Success` };
}

function nameOf(probe: Probe): string {
  return probe.kind === 'http' ? `HTTP ${probe.method} ${probe.url.href}` : `TCP connect ${probe.host}:${probe.port}`;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Node joins the failures of several addresses without a message of its own.
  const { message } = error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : error;
  return message;
}

/** At most `maxBytes` of UTF-8, not cut within a character. */
export function clip(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return bytes.toString();
  return new TextDecoder().decode(bytes.subarray(0, maxBytes), { stream: true });
}
