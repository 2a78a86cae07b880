import type { HostPort } from './host-port.ts';
import { onHttp2Session } from './http2-session.ts';
import type { Probe, ProbeTls } from './probe.ts';

/** A PING frame of HTTP/2 (RFC 9113 section 6.7). */
export interface H2PingTarget extends HostPort {
  readonly kind: 'h2ping';
  readonly tls: ProbeTls | undefined;
}

/** Passes when the ping is answered. */
export function h2pingProbe(target: H2PingTarget): Probe {
  return (signal) =>
    onHttp2Session(target, target.tls, signal, async (session) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      session.ping((error) => (error === null ? resolve() : reject(new Error(`HTTP2 ping failed: ${error.message}`))));
      await promise;
      return { status: 'passing', output: 'HTTP2 ping was successful' };
    });
}
