import type { RequestNormalization } from '#policies/request-normalization.ts';
import type { OutgoingRequest } from './client-stream.ts';
import { encodeRequestHead, inOnePiece } from './http1/head-encoder.ts';
import type { Http2Traits, RequestHead } from './http1/message.ts';
import { longestRepeated } from './http1/message-decoder.ts';
import { type NormalisedRequest, normalise } from './normalised-request.ts';

/** The head of a request in HTTP/1.1, latin1. */
export function encodeRequest({ method, target, headers, framing, upgrade }: OutgoingRequest): string {
  return encodeRequestHead(method, target, headers, framing, upgrade === undefined ? undefined : { upgrade });
}

/**
 * A request as it goes on.
 *
 * @param http2 undefined: over HTTP/1.1
 */
export function outgoingRequest(
  { method, framing, upgrade }: RequestHead,
  target: string,
  headers: readonly string[],
  http2: Http2Traits | undefined,
): OutgoingRequest {
  return { method, target, headers, framing, upgrade, http2, text: undefined };
}

/** It may come again as the same object: of HTTP/1.1, and no longer than a decoder keeps. */
function mayRepeat({ http2, target, headers }: RequestHead): boolean {
  if (http2 !== undefined) return false;
  let size = target.length;
  for (const part of headers) size += part.length;
  return size <= longestRepeated;
}

/**
 * The last request of a connection, as it went on. A head that repeats is the same object each time (MessageDecoder), so what was made of it is used again. It is
 * judged each time: nothing of that is kept here.
 */
export class OnwardRequest {
  #sent: RequestHead | undefined;
  #words: RequestNormalization | undefined;
  #normalised: NormalisedRequest | undefined;
  #request: OutgoingRequest | undefined;

  /** As `normalise` of edge-proxy/normalised-request.ts. */
  normalise(sent: RequestHead, words: RequestNormalization): NormalisedRequest {
    if (this.#normalised !== undefined && sent === this.#sent && words === this.#words) return this.#normalised;
    const normalised = normalise(sent, words);
    const keeps = mayRepeat(sent);
    this.#sent = keeps ? sent : undefined;
    this.#words = words;
    this.#request = undefined;
    this.#normalised = keeps ? normalised : undefined;
    return normalised;
  }

  /** What was kept of the request that was normalised last; undefined: it is new, or goes on in another version of HTTP now. */
  again(http2: Http2Traits | undefined): OutgoingRequest | undefined {
    const request = this.#request;
    if (request === undefined || request.http2 !== http2) return undefined;
    if (http2 === undefined && request.text === undefined)
      this.#request = { ...request, text: inOnePiece(encodeRequest(request)) };
    return this.#request;
  }

  /** The request that was normalised last, as it goes on now. */
  keep(request: OutgoingRequest): OutgoingRequest {
    if (this.#sent !== undefined) this.#request = request;
    return request;
  }
}
