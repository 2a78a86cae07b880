import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { type ByteStream, idleHandlers, withRest } from '../byte-stream.ts';
import { endWithFarewell } from '../farewell.ts';
import { encodeError } from '../http1/error-response.ts';
import { refusalOf } from '../http1/fault.ts';
import type { IdleSweep } from '../idle-sweep.ts';
import type { Traffic } from '../traffic.ts';
import { farewellInHttp2 } from '../tunnel/frame-writer.ts';
import { connectionPreface, errorCode } from '../tunnel/http2.ts';
import type { OutboundContext } from './http-connection.ts';
import { serveConnection } from './serve-connection.ts';
import type { Upstream } from './upstream.ts';
import type { Found, UpstreamSet } from './upstream-set.ts';

const nothing = Buffer.alloc(0);

/** What connections to one service need that say nothing of it: at its own port, or by the address that was called. */
export interface AddressedContext {
  /** The local service that calls. */
  readonly service: string;
  readonly upstreams: UpstreamSet;
  readonly traffic: Traffic;
  readonly sweep: IdleSweep;
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

/** What it speaks is not known either: who begins with HTTP is told in that, all others can only be closed. */
function refuse(
  stream: ByteStream,
  destination: string,
  { service, traffic, sweep }: AddressedContext,
  code: ErrorCode,
  reason: string,
): void {
  const { id } = traffic.refuse({ direction: 'outbound', source: service, destination, code, rule: 'name', reason });
  const guard = sweep.guard(firstWordsMs, () => stream.destroy());
  stream.handlers = {
    ...idleHandlers,
    onData(chunk) {
      sweep.release(guard);
      const begun = chunk.toString('latin1', 0, maxLineBytes);
      if (requestLine.test(begun)) endWithFarewell(stream, sweep, encodeError(refusalOf(code, reason), id));
      else if (begun.startsWith(http2Preface))
        endWithFarewell(stream, sweep, farewellInHttp2(errorCode.noError, `${code}: ${reason} (decision ${id})`));
      else stream.destroy();
    },
    onEnd: () => stream.destroy(),
    onClose: () => sweep.release(guard),
  };
  stream.resume();
}

/** Who waits to be spoken to first is closed after this long, ms. */
const firstWordsMs = 500;
const maxLineBytes = 8_192;
const http2Preface = connectionPreface.toString('latin1');
const requestLine = /^[A-Z]+ [!-~]+ HTTP\/1\.[01]\r\n/;
