import { byteClass, SP, TARGET, TOKEN } from './byte-classes.ts';
import type { Fault } from './fault.ts';
import type { HeaderBlock } from './header-block.ts';
import { sameName } from './header-kind.ts';
import { isHost, sameHttpAuthority } from './host.ts';
import type { Http1Limits } from './limits.ts';
import { chunkedBody, type Framing, noBody, type RequestHead } from './message.ts';

/**
 * Reads a whole request head (RFC 9112 3) from latin1 text that holds it from `start` to its empty line or beyond.
 * `block.end` is then where it ends.
 */
export function readRequestHead(
  text: string,
  start: number,
  block: HeaderBlock,
  limits: Http1Limits,
): RequestHead | Fault {
  let at = start;
  while ((byteClass(text.charCodeAt(at)) & TOKEN) !== 0) at++;
  if (text.charCodeAt(at) !== SP || at === start) return badRequestLine;
  if (at - start > limits.maxMethodBytes) return longMethod;
  const method = text.slice(start, at);
  const targetStart = ++at;
  while ((byteClass(text.charCodeAt(at)) & TARGET) !== 0) at++;
  if (text.charCodeAt(at) !== SP || at === targetStart) return badRequestLine;
  if (at - targetStart > limits.maxTargetBytes) return longTarget;
  const target = text.slice(targetStart, at);
  const minorVersion = readVersion(text, ++at);
  if (typeof minorVersion !== 'number') return minorVersion;

  const fault = refuseMethod(method, limits) ?? block.read(text, at + 10, limits) ?? refuseFraming(block, minorVersion);
  if (fault !== undefined) return fault;
  const host = readHost(method, target, block.host, minorVersion);
  if (typeof host === 'object') return host;
  const framing = framingOf(block);
  if (method === 'CONNECT' && framing.kind !== 'none') return bodyWithConnect;
  const upgrade = minorVersion === 1 && block.upgradeListed ? upgradeBesideH2c(block.upgrade) : undefined;
  const connectionFault = refuseUpgrade(upgrade, framing) ?? refuseExpect(block, minorVersion);
  if (connectionFault !== undefined) return connectionFault;
  return {
    method,
    target,
    minorVersion,
    headers: block.headers,
    underscored: block.underscored,
    host,
    framing,
    keepAlive: !block.close && (minorVersion === 1 || block.keepAlive),
    expectContinue: minorVersion === 1 && block.expect !== undefined,
    upgrade,
    connectionOptions: block.connectionOptions,
  };
}

/** The version and its CRLF, 10 characters: HTTP/1.0 or HTTP/1.1. */
function readVersion(text: string, at: number): 0 | 1 | Fault {
  if (text.startsWith('HTTP/1.1\r\n', at)) return 1;
  if (text.startsWith('HTTP/1.0\r\n', at)) return 0;
  if (text.startsWith('PRI * HTTP/2.0\r\n', at - 6)) return http2Preface;
  return /^HTTP\/\d\.\d\r\n/.test(text.slice(at, at + 10)) ? otherVersion : badRequestLine;
}

function refuseMethod(method: string, limits: Http1Limits): Fault | undefined {
  if (method === 'CONNECT' && !limits.allowConnect) return connectMethod;
  return method === 'TRACE' && !limits.allowTrace ? traceMethod : undefined;
}

function refuseFraming(block: HeaderBlock, minorVersion: 0 | 1): Fault | undefined {
  return block.chunked && minorVersion === 0 ? chunkedInOld : undefined;
}

function framingOf(block: HeaderBlock): Framing {
  if (block.contentLength >= 0) return { kind: 'length', bytes: block.contentLength };
  return block.chunked ? chunkedBody : noBody;
}

/** RFC 9112 3.2: one Host, and an absolute target names the same authority. */
function readHost(
  method: string,
  target: string,
  host: string | undefined,
  minorVersion: 0 | 1,
): string | undefined | Fault {
  if (host === undefined) {
    if (minorVersion === 1) return missingHost;
  } else if (!isHost(host)) return badHost;
  if (method === 'CONNECT') return readConnectHost(target, host);
  if (target.charCodeAt(0) === 0x2f) return host;
  if (target === '*') return method === 'OPTIONS' ? host : badTarget;
  if (target.length < 8 || !target.startsWith('://', 4) || !sameName(target, 'http')) return badTarget;
  const authority = target.slice(7, authorityEnd(target));
  if (!isHost(authority)) return badHost;
  return host === undefined || sameHttpAuthority(host, authority) ? (host ?? authority) : otherHost;
}

/** RFC 9112 3.2.3: `host:port`. Not every client repeats the port in Host. */
function readConnectHost(target: string, host: string | undefined): string | Fault {
  if (!isHost(target) || !portSuffix.test(target)) return badConnectTarget;
  const named = (text: string): string => text.replace(portSuffix, '').toLowerCase();
  if (host === undefined || named(host) === named(target)) return target;
  return otherHost;
}

const portSuffix = /:\d{1,5}$/;

function authorityEnd(target: string): number {
  for (let at = 7; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (code === 0x2f || code === 0x3f) return at;
  }
  return target.length;
}

/**
 * An upgrade to h2c is declined, as a server may (RFC 9110 7.8): Java's client offers it with every first request. It is not forwarded: bytes behind a 101 are
 * read by nobody, so requests in them would be judged by nobody.
 */
function upgradeBesideH2c(upgrade: string | undefined): string | undefined {
  if (upgrade === undefined || !/h2c/i.test(upgrade)) return upgrade;
  const others = upgrade.split(',').filter((protocol) => !/^[ \t]*h2c[ \t]*$/i.test(protocol));
  return others.length === 0 ? undefined : others.join(',').trim();
}

function refuseUpgrade(upgrade: string | undefined, framing: Framing): Fault | undefined {
  const hasBody = framing.kind === 'chunked' || (framing.kind === 'length' && framing.bytes > 0);
  return upgrade !== undefined && hasBody ? upgradeWithBody : undefined;
}

/** RFC 9110 10.1.1. HTTP/1.0 callers cannot expect anything. */
function refuseExpect(block: HeaderBlock, minorVersion: 0 | 1): Fault | undefined {
  if (block.expect === undefined || minorVersion === 0) return undefined;
  return block.expect.length === 12 && sameName(block.expect, '100-continue') ? undefined : otherExpectation;
}

const line = (reason: string): Fault => ({ kind: 'start-line', reason });
const badRequestLine = line('the request line is not `METHOD target HTTP/1.x` with single spaces');
const badTarget = line('the target is neither a path, nor an http:// address, nor `*` with OPTIONS');
const longMethod: Fault = { kind: 'method', reason: 'the method name is too long' };
const longTarget: Fault = { kind: 'target-size', reason: 'the target is too long' };
const connectMethod: Fault = { kind: 'method', reason: 'CONNECT is not offered' };
const traceMethod: Fault = { kind: 'method', reason: 'TRACE is not offered' };
/** An HTTP/2 client with prior knowledge. */
export const http2Preface: Fault = { kind: 'version', reason: 'HTTP/2, where HTTP/1.1 is spoken' };
const otherVersion: Fault = { kind: 'version', reason: 'neither HTTP/1.1 nor HTTP/1.0' };
const chunkedInOld: Fault = { kind: 'framing', reason: 'Transfer-Encoding in an HTTP/1.0 message' };
const missingHost: Fault = { kind: 'host', reason: 'no Host header' };
const badConnectTarget = line('the target of CONNECT is not host:port');
const bodyWithConnect: Fault = { kind: 'framing', reason: 'a body with CONNECT' };
const badHost: Fault = { kind: 'host', reason: 'not a host name or address with an optional port' };
const otherHost: Fault = { kind: 'host', reason: 'Host and the target name different hosts' };
const upgradeWithBody: Fault = { kind: 'upgrade', reason: 'an upgrade asked for with a request body' };
const otherExpectation: Fault = { kind: 'expect', reason: 'an expectation other than 100-continue' };
