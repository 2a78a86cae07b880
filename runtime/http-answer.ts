import type { ServerResponse } from 'node:http';

/** An answer of which all is there. It needs no Response of the platform, with which Node loads undici. */
export interface HttpAnswer {
  readonly status: number;
  /** Without a length. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** @param value anything that JSON can say */
export function jsonAnswer(value: unknown, status = 200): HttpAnswer {
  return { status, headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) };
}

export function textAnswer(body: string, status = 200, contentType = 'text/plain; charset=UTF-8'): HttpAnswer {
  return { status, headers: { 'content-type': contentType }, body };
}

/** Writes it whole; to a HEAD its head only, as node:http does. */
export function writeAnswer(outgoing: ServerResponse, { status, headers, body }: HttpAnswer): void {
  outgoing.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  outgoing.end(body);
}
