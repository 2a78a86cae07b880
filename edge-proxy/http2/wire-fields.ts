import type { OutgoingRequest } from '../client-stream.ts';
import { HOST, headerKind, OTHER } from '../http1/header-kind.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { webSocketKey } from './websocket.ts';

type Field = readonly [name: string, value: string];

const trailersTaken: Field = ['te', 'trailers'];

/**
 * A request's fields as HTTP/2 sends them: Host as `:authority`, names in lower case, an Upgrade as extended CONNECT. The scheme is the application's: it has no
 * TLS.
 */
export function requestFields(request: OutgoingRequest): Field[] {
  const { method, target, headers, framing, upgrade, http2 } = request;
  const fields: Field[] = [
    [':method', upgrade === undefined ? method : 'CONNECT'],
    [':scheme', 'http'],
    [':path', target],
  ];
  let host = '';
  for (let at = 0; at < headers.length; at += 2) {
    const name = (headers[at] ?? '').toLowerCase();
    if (headerKind(name) === HOST) host = headers[at + 1] ?? '';
    else if (upgrade === undefined || name !== webSocketKey) fields.push([name, headers[at + 1] ?? '']);
  }
  fields.splice(3, 0, [':authority', host]);
  if (upgrade !== undefined) fields.splice(4, 0, [':protocol', upgrade.toLowerCase()]);
  if (framing.kind === 'length' && upgrade === undefined) fields.push(['content-length', String(framing.bytes)]);
  if (http2?.takesTrailers === true) fields.push(trailersTaken);
  return fields;
}

/**
 * An answer's fields as HTTP/2 sends them.
 *
 * @param headers       flat, without those of the hop
 * @param contentLength bytes, where the answer says it
 */
export function answerFields(headers: readonly string[], contentLength?: number): HeaderFields {
  const fields: Field[] = [];
  for (let at = 0; at < headers.length; at += 2)
    fields.push([(headers[at] ?? '').toLowerCase(), headers[at + 1] ?? '']);
  if (contentLength !== undefined) fields.push(['content-length', String(contentLength)]);
  return fields;
}

/** What passes of trailers: nothing that frames, routes or says who calls (RFC 9110 6.5.1). */
export function passedTrailers(fields: HeaderFields): HeaderFields {
  return fields.filter(([name]) => headerKind(name) === OTHER);
}
