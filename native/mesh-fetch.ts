import { type Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/** Statuses whose answers have no body (Fetch standard 2.2.6). */
const bodyless: ReadonlySet<number> = new Set([101, 204, 205, 304]);

/**
 * As the global `fetch`, over an agent. Answers come as they are: no redirect is followed, nothing decompressed, no cookie kept.
 *
 * @throws TypeError as `fetch`: the URL is not http, or the connection broke
 */
export async function meshFetch(agent: Agent, input: string | URL | Request, init: RequestInit): Promise<Response> {
  const request = new Request(input, init.body ? { duplex: 'half', ...init } : init);
  const url = new URL(request.url);
  if (url.protocol !== 'http:')
    throw new TypeError(`${url.protocol}// is not for services of the mesh: write http://, TLS is the mesh's work`);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const outgoing = httpRequest(url, {
    agent,
    method: request.method,
    headers: Object.fromEntries(request.headers),
    signal: request.signal,
  });
  outgoing.once('response', resolve);
  outgoing.once('error', (cause) => reject(request.signal.aborted ? request.signal.reason : failed(cause)));
  if (request.body === null) outgoing.end();
  else
    Readable.fromWeb(request.body)
      .on('error', (error) => outgoing.destroy(error))
      .pipe(outgoing);
  const incoming = await promise;
  const { statusCode: status = 502, statusMessage: statusText = '' } = incoming;
  const headers = new Headers();
  for (let at = 0; at + 1 < incoming.rawHeaders.length; at += 2)
    headers.append(incoming.rawHeaders[at] ?? '', incoming.rawHeaders[at + 1] ?? '');
  if (bodyless.has(status) || request.method === 'HEAD') incoming.resume();
  const body = bodyless.has(status) || request.method === 'HEAD' ? null : Readable.toWeb(incoming);
  return new Response(body as ReadableStream<Uint8Array> | null, { status, statusText, headers });
}

function failed(cause: Error): TypeError {
  return new TypeError(`the call broke off: ${cause.message}`, { cause });
}
