import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { type ByteStream, withRest } from '../byte-stream.ts';
import type { Traffic } from '../traffic.ts';
import type { OutboundContext } from './http-connection.ts';
import { serveConnection } from './serve-connection.ts';
import type { Upstream } from './upstream.ts';
import type { Found, UpstreamSet } from './upstream-set.ts';

const nothing = Buffer.alloc(0);

/** What connections to one service need that are told apart by the address that was called. */
export interface AddressedContext {
  /** The local service that calls. */
  readonly service: string;
  readonly upstreams: UpstreamSet;
  readonly traffic: Traffic;
  contextOf(upstream: Upstream): OutboundContext;
}

/** Serves a connection to `destination`, unread until the catalog has told of it where this is its first use. */
export function serveAddressed(stream: ByteStream, destination: string, context: AddressedContext): void {
  let ended = false;
  let stopWaiting = (): void => {};
  stream.handlers = {
    onData() {},
    onEnd() {
      ended = true;
    },
    onDrain() {},
    onClose: () => stopWaiting(),
  };
  stream.pause();
  stopWaiting = context.upstreams.find(destination, (found: Found) => {
    if (found.kind === 'upstream') serveConnection(withRest(stream, nothing, ended), context.contextOf(found.upstream));
    else refuse(stream, destination, context, found.code, found.reason);
  });
}

/** What it speaks is not known either, so that it can only be closed. */
function refuse(
  stream: ByteStream,
  destination: string,
  { service, traffic }: AddressedContext,
  code: ErrorCode,
  reason: string,
): void {
  traffic.refuse({ direction: 'outbound', source: service, destination, code, rule: 'name', reason });
  stream.destroy();
}
