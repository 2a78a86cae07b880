import type { SpiffeId } from '#policies/spiffe-id.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import type { FeedEndpoint } from '#policies/wire/feed.ts';
import type { ClientStream, OutgoingRequest } from '../client-stream.ts';
import { HttpClientStream } from '../http-client-stream.ts';
import { Http2ClientStream } from '../http2-client-stream.ts';
import { LinkedSet } from '../linked-set.ts';
import { tunnelByteStream } from '../tunnel-byte-stream.ts';
import type { EndpointTunnels, OpenFailure } from './endpoint-tunnels.ts';

/** Free streams kept per endpoint; as many requests as are usually in flight. */
const maxFree = 512;

/** One instance of an upstream, as this proxy deals with it: its tunnels, its free HTTP streams, its load. */
export class Endpoint {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** Who must answer there. */
  readonly spiffeId: SpiffeId;
  readonly tunnels: EndpointTunnels;
  status: FeedEndpoint['status'];
  weight: number;
  /** Until a stream to it must be open. */
  connectTimeoutMs = 0;
  /** The SPIFFE ID that the peer proved at the last handshake. */
  verified: SpiffeId | undefined;
  /** Requests, or TCP connections, under way. */
  inFlight = 0;
  readonly #free: HttpClientStream[] = [];
  readonly #streams = new LinkedSet<HttpClientStream>();
  /** Streams of tunnels that take no further requests. */
  readonly #retired = new WeakSet<HttpClientStream>();

  constructor(from: FeedEndpoint, makeTunnels: (onRetire: () => void) => EndpointTunnels) {
    this.id = from.id;
    this.host = from.address;
    this.port = from.port;
    this.spiffeId = parseSpiffeId(from.spiffeId);
    this.status = from.status;
    this.weight = from.weight;
    this.tunnels = makeTunnels(() => this.retireStreams());
  }

  /** Whether the catalog's entry is still the same place and identity: if not, it is another endpoint. */
  isAt(other: FeedEndpoint): boolean {
    return this.host === other.address && this.port === other.port && this.spiffeId === other.spiffeId;
  }

  /** A stream that is ready for this request now, when there is one. */
  takeFree(request: OutgoingRequest): ClientStream | undefined {
    if (request.http2 === undefined) return this.#free.pop();
    const tunnel = this.tunnels.take();
    return tunnel === undefined ? undefined : new Http2ClientStream(tunnel);
  }

  /** A fresh stream for this request, which begins in that call; callbacks as EndpointTunnels.open. */
  openStream(
    request: OutgoingRequest,
    timeoutMs: number,
    onStream: (stream: ClientStream) => void,
    onFailure: (failure: OpenFailure) => void,
  ): () => void {
    if (request.http2 !== undefined)
      return this.tunnels.lease(timeoutMs, (tunnel) => onStream(new Http2ClientStream(tunnel)), onFailure);
    return this.tunnels.open(
      timeoutMs,
      (tunnelStream) => {
        const stream = new HttpClientStream(tunnelByteStream(tunnelStream), {
          give: (free) => {
            if (this.#free.length < maxFree && !this.#retired.has(free)) this.#free.push(free);
            else free.discard();
          },
          drop: (gone) => {
            this.#streams.delete(gone);
            const index = this.#free.indexOf(gone);
            if (index >= 0) this.#free.splice(index, 1);
          },
        });
        this.#streams.add(stream);
        onStream(stream);
      },
      onFailure,
    );
  }

  /** Streams of the present tunnels are not used for further requests: the next one goes over a new tunnel. */
  retireStreams(): void {
    for (const stream of this.#streams.all()) this.#retired.add(stream);
    for (const free of this.#free.splice(0)) free.discard();
  }

  close(): void {
    this.retireStreams();
    this.tunnels.close();
  }
}
