import { type ClientHttp2Session, connect } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { HostPort } from './host-port.ts';
import type { ProbeTls } from './probe.ts';
import { openProbeSocket } from './probe-socket.ts';

/** Smallest bound on a session's memory, in megabytes: Node's own default is ten. */
const maxSessionMemory = 1;

/**
 * Runs something on an HTTP/2 connection of its own, with prior knowledge or by TLS and ALPN, and destroys it after.
 * Rejects as `use` does, or with what broke the connection meanwhile, or with the abort reason.
 */
export async function onHttp2Session<T>(
  target: HostPort,
  tls: ProbeTls | undefined,
  signal: AbortSignal,
  use: (session: ClientHttp2Session) => Promise<T>,
): Promise<T> {
  const socket = await openProbeSocket(target, tls, signal, tls === undefined ? [] : ['h2']);
  if (tls !== undefined && (socket as TLSSocket).alpnProtocol !== 'h2') {
    socket.destroy();
    throw new Error('the server does not speak HTTP/2 (ALPN h2)');
  }
  const session = connect('http://probe.invalid', { createConnection: () => socket, maxSessionMemory });
  const { promise: broken, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  session.on('error', reject);
  session.once('close', () => reject(new Error('the server closed the connection')));
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([use(session), broken]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    session.destroy();
  }
}
