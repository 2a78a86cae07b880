import type { ServerResponse } from 'node:http';

/** An answer before anybody has asked for it as a Response. */
interface Ready {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly headers: Readonly<Record<string, string>>;
  /** Made of the two when somebody does. */
  whole: Response | undefined;
}

const ready = Symbol('ready');

/**
 * Makes an answer of which all bytes are there. A Response of the platform puts its body into a stream and its headers into an object, which serveHttp would take
 * apart again: more work than all the rest of an answer out of a cache. This one is written as it is, and becomes one of the platform's for whoever looks at it as
 * such: a HEAD, a middleware, a test without a socket.
 *
 * @param bytes not changed from here on: answers share them
 * @param headers without a length; names in lower case, names and values our own
 */
export function readyResponse(
  status: number,
  bytes: Uint8Array<ArrayBuffer>,
  headers: Readonly<Record<string, string>>,
): Response {
  const held: Ready = { bytes, headers, whole: undefined };
  return Object.assign(Object.create(prototype) as Response, { status, [ready]: held });
}

/**
 * Writes such an answer, head and body in one system call.
 *
 * @returns false: it is none, or somebody has looked at it as a Response and may have read it
 */
export function writeIfReady(answer: Response, outgoing: ServerResponse): boolean {
  if (!isReady(answer)) return false;
  const { bytes, headers, whole } = answer[ready];
  if (whole !== undefined) return false;
  if (outgoing.destroyed) return true;
  outgoing.writeHead(answer.status, { ...headers, 'content-length': bytes.byteLength });
  outgoing.end(bytes);
  return true;
}

const prototype: object = Object.create(Response.prototype);
for (const name of Reflect.ownKeys(Response.prototype)) {
  if (name === 'constructor' || name === 'status') continue;
  Object.defineProperty(prototype, name, {
    get(this: Response & { [ready]: Ready }): unknown {
      const whole = wholeOf(this);
      const member: unknown = Reflect.get(whole, name);
      return typeof member === 'function' ? member.bind(whole) : member;
    },
  });
}
Object.defineProperty(prototype, 'status', { writable: true, value: 200 });

function wholeOf({ status, [ready]: held }: Response & { [ready]: Ready }): Response {
  held.whole ??= new Response(held.bytes, { status, headers: held.headers });
  return held.whole;
}

function isReady(answer: Response): answer is Response & { [ready]: Ready } {
  return ready in answer;
}
