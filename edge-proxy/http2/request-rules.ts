import { allOf, DIGIT } from '../http1/byte-classes.ts';
import type { Fault } from '../http1/fault.ts';
import { CONTENT_LENGTH, EXPECT, HOST, headerKind, sameName } from '../http1/header-kind.ts';
import { isHost } from '../http1/host.ts';
import { requestLimits } from '../http1/limits.ts';
import { chunkedBody, type Framing, type Http2Traits, noBody, type RequestHead } from '../http1/message.ts';
import type { TunnelRequest } from '../tunnel/tunnel.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { isGrpc } from './grpc.ts';
import { isWebSocket, webSocketKey } from './websocket.ts';

const noOptions: readonly string[] = [];

/**
 * Reads a request of HTTP/2 as strictly as one of HTTP/1.1 is read, into the same form: `Host` stands first among its headers, cookies are one header (RFC 9113
 * 8.2.3), the opening of a WebSocket (RFC 8441) is a GET with Upgrade, without its key. What RFC 9113 calls malformed, the connection has refused before; here is
 * what two readers could take differently.
 *
 * @param allowConnect CONNECT is taken, too, in the form that it has in HTTP/1.1
 */
export function readRequest(request: TunnelRequest, allowConnect = false): RequestHead | Fault {
  const { method, path, protocol } = request;
  if (request.over) return largeHead;
  if (method.length > requestLimits.maxMethodBytes) return longMethod;
  if (method === 'TRACE') return traceMethod;
  const connect = method === 'CONNECT';
  if (connect && protocol === undefined) return allowConnect ? readConnect(request) : connectMethod;
  if (protocol !== undefined && !isWebSocket(protocol)) return otherProtocol;
  if (path.length > requestLimits.maxTargetBytes) return longTarget;
  if (path.charCodeAt(0) !== 0x2f && !(path === '*' && method === 'OPTIONS')) return badPath;
  let host = request.authority === '' ? undefined : request.authority;
  let length: number | undefined;
  let expect: string | undefined;
  let takesTrailers = false;
  let cookie: string | undefined;
  let grpc = false;
  let underscored = false;
  const headers = ['host', ''];
  for (const [name, value] of request.headers) {
    underscored ||= name.includes('_');
    switch (headerKind(name)) {
      case HOST:
        if (host !== undefined && host !== value) return otherHost;
        host = value;
        continue;
      case CONTENT_LENGTH:
        if (connect) return bodyWithConnect;
        if (length !== undefined || !isLength(value)) return badLength;
        length = Number(value);
        break;
      case EXPECT:
        if (expect !== undefined || value.length !== 12 || !sameName(value, '100-continue')) return otherExpectation;
        expect = value;
        break;
      default:
        if (name === 'te') takesTrailers = true;
        else if (name === 'cookie') {
          // An empty crumb would leave a blank at the end, which is malformed (RFC 9113 8.2.1).
          if (value !== '') cookie = cookie === undefined ? value : `${cookie}; ${value}`;
          continue;
        } else if (name === 'content-type') grpc ||= isGrpc(value);
        // Proves nothing here: HTTP/1.1 is given one of ours.
        else if (connect && name === webSocketKey) continue;
    }
    headers.push(name, value);
  }
  if (host === undefined) return missingHost;
  if (!isHost(host)) return badHost;
  headers[1] = host;
  if (cookie !== undefined) headers.push('cookie', cookie);
  if (request.whole && (length ?? 0) > 0) return shortBody;
  return {
    method: connect ? 'GET' : method,
    target: path,
    minorVersion: 1,
    headers,
    underscored,
    host,
    framing: framingOf(request.whole || connect, length),
    keepAlive: true,
    expectContinue: expect !== undefined && !request.whole && !connect,
    upgrade: connect ? 'websocket' : undefined,
    connectionOptions: noOptions,
    http2: connect ? noTraits : { takesTrailers, grpc },
  };
}

/** RFC 9113 8.5: `:authority` is host and port. */
function readConnect({ authority, headers }: TunnelRequest): RequestHead | Fault {
  if (!isHost(authority) || !/:\d{1,5}$/.test(authority)) return badAuthority;
  if (headers.some(([name, value]) => headerKind(name) === HOST && value !== authority)) return otherHost;
  if (headers.some(([name]) => headerKind(name) === CONTENT_LENGTH)) return bodyWithConnect;
  return {
    method: 'CONNECT',
    target: authority,
    minorVersion: 1,
    headers: headers.flat(),
    underscored: headers.some(([name]) => name.includes('_')),
    host: authority,
    framing: noBody,
    keepAlive: true,
    expectContinue: false,
    upgrade: undefined,
    connectionOptions: noOptions,
    http2: noTraits,
  };
}

/** Whether a request that was not taken is a gRPC call, and so is told in gRPC's words. */
export function looksLikeGrpc(headers: HeaderFields): boolean {
  return headers.some(([name, value]) => name === 'content-type' && isGrpc(value));
}

/** A length in digits that a number holds exactly. */
export function isLength(text: string): boolean {
  return text.length > 0 && text.length <= 15 && allOf(DIGIT, text, 0, text.length);
}

function framingOf(whole: boolean, length: number | undefined): Framing {
  if (length !== undefined) return { kind: 'length', bytes: length };
  return whole ? noBody : chunkedBody;
}

const largeHead: Fault = { kind: 'head-size', reason: 'more than 100 fields or 64 KiB of them' };
const longMethod: Fault = { kind: 'method', reason: 'the method name is too long' };
/** Behind a CONNECT come bytes. */
const noTraits: Http2Traits = { takesTrailers: false, grpc: false };

const connectMethod: Fault = { kind: 'method', reason: 'CONNECT is not offered' };
const traceMethod: Fault = { kind: 'method', reason: 'TRACE is not offered' };
const longTarget: Fault = { kind: 'target-size', reason: 'the path is too long' };
const badPath: Fault = { kind: 'start-line', reason: ':path is neither a path nor `*` with OPTIONS' };
const missingHost: Fault = { kind: 'host', reason: 'neither :authority nor Host' };
const badAuthority: Fault = { kind: 'start-line', reason: ':authority of CONNECT is not host:port' };
const bodyWithConnect: Fault = { kind: 'framing', reason: 'a length of content with CONNECT, which has none' };
const otherProtocol: Fault = { kind: 'protocol', reason: 'of extended CONNECT, :protocol websocket is taken alone' };
const badHost: Fault = { kind: 'host', reason: ':authority is not a host name or address with an optional port' };
const otherHost: Fault = { kind: 'host', reason: 'Host is not :authority, or there is more than one' };
const badLength: Fault = { kind: 'framing', reason: 'Content-Length is not one number of bytes in digits' };
const shortBody: Fault = { kind: 'framing', reason: 'Content-Length announces a body that does not come' };
const otherExpectation: Fault = { kind: 'expect', reason: 'an expectation other than 100-continue' };
