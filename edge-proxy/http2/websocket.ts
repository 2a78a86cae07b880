import { createHash } from 'node:crypto';
import type { RandomBytes } from '#runtime/clock.ts';
import { headerValues } from '../http1/forwardable-headers.ts';
import { sameName } from '../http1/header-kind.ts';
import type { RequestHead } from '../http1/message.ts';

/**
 * The opening of a WebSocket in both versions of HTTP: a GET with Upgrade that is proven by key and accept (RFC 6455 4), or an extended CONNECT, which needs no
 * proof (RFC 8441 5). Within the proxies it has the first form, by which it is judged.
 */

/** What the client of HTTP/1.1 sends. */
export const webSocketKey = 'sec-websocket-key';
/** What its server makes of that. */
export const webSocketAccept = 'sec-websocket-accept';

/** Whether an Upgrade, or a `:protocol`, asks for a WebSocket and nothing else. */
export function isWebSocket(protocol: string): boolean {
  return protocol.length === 9 && sameName(protocol, 'websocket');
}

/** Whether this is the opening of a WebSocket that says the same as an extended CONNECT: which has no method of its own, so that any other than GET would be lost. */
export function opensWebSocket({ method, upgrade, headers }: RequestHead): boolean {
  return (
    method === 'GET' &&
    upgrade !== undefined &&
    isWebSocket(upgrade) &&
    headerValues(headers, webSocketKey).length === 1
  );
}

/** A fresh key. */
export function newWebSocketKey(randomBytes: RandomBytes): string {
  return Buffer.from(randomBytes(16)).toString('base64');
}

/** What the server that has taken this key answers (RFC 6455 4.2.2). */
export function webSocketAcceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}
