import { MeshError } from '#policies/errors/mesh-error.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { formatSocketAddress } from '#runtime/socket-address.ts';
import { hasteMs } from '#runtime/svid/renewal-plan.ts';
import type { Svid, SvidSource } from '#runtime/svid/svid.ts';
import { isPeerTainted } from '#runtime/svid/tainted.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { type VerifiedPeer, verifySocket } from '#runtime/svid/verify-peer.ts';
import { dialTls } from '#runtime/tls-identity.ts';
import { openTunnel } from '../tunnel/socket-tunnel.ts';
import type { DialTunnel } from '../tunnel-pool.ts';

/** Whom to dial and who must answer. */
export interface DialTarget {
  readonly host: string;
  readonly port: number;
  readonly expect: SpiffeId;
}

/**
 * Dials one endpoint: TLS 1.3 with our SVID, the peer's chain and SPIFFE ID verified before a byte is written, then a tunnel.
 *
 * @param onVerified called with each peer that proved itself, for the admin API
 */
export function endpointDialer(options: {
  target: DialTarget;
  svid: SvidSource;
  trust: TrustSource;
  process: ProcessContext;
  onVerified(peer: VerifiedPeer): void;
}): DialTunnel {
  const { target, svid, trust, process } = options;
  return (events) => {
    const giveUp = new AbortController();
    const own = svid.current;
    if (own === undefined) {
      queueMicrotask(() => events.onFailure('this proxy has no SVID yet'));
      return () => {};
    }
    let peer: VerifiedPeer | undefined;
    dialTls({
      host: target.host,
      port: target.port,
      svid: own,
      alpn: ['h2'],
      signal: giveUp.signal,
      judge(socket) {
        peer = verifySocket(socket, trust, process.clock());
        if (peer.spiffeId !== target.expect) {
          throw new MeshError(
            'SLV-2010',
            `${formatSocketAddress(target)} is ${peer.spiffeId}, expected was ${target.expect}`,
          );
        }
        if (socket.alpnProtocol !== 'h2')
          throw new MeshError('SLV-2010', `${formatSocketAddress(target)} speaks no h2: it is no edge proxy`);
      },
    }).then(
      (socket) => {
        if (giveUp.signal.aborted || peer === undefined) {
          socket.destroy();
          return;
        }
        options.onVerified(peer);
        socket.setNoDelay(true);
        const tunnel = openTunnel({
          socket,
          handlers: {
            onClose: (reason) => {
              stopWatching();
              events.onClose(reason?.message);
            },
            onGoAway: () => events.onGoAway(),
          },
        });
        let replacement: NodeJS.Timeout | undefined;
        const judgeAgain = (): void => {
          try {
            verifySocket(socket, trust, process.clock());
            if (isPeerTainted(socket, trust)) replacement ??= setTimeout(events.onGoAway, replacementMs(own)).unref();
          } catch (err) {
            process.log.warn({ err, endpoint: target }, 'endpoint refused while its tunnel was open: cut');
            tunnel.close();
          }
        };
        // Trust outlives the handshake only as long as the roots and the revocations say so; and what begins now is to hang on our newest SVID.
        const stops = [trust.onChange(judgeAgain), svid.onChange(() => events.onGoAway())];
        const stopWatching = (): void => {
          clearTimeout(replacement);
          for (const stop of stops) stop();
        };
        events.onTunnel(tunnel, Math.min(own.notAfterMs, peer.notAfterMs));
        judgeAgain();
        if (svid.current !== own) events.onGoAway();
      },
      (error: unknown) => {
        if (giveUp.signal.aborted) return;
        process.log.debug({ err: error, endpoint: target }, 'endpoint not dialled');
        events.onFailure(error instanceof Error ? error.message : String(error));
      },
    );
    return () => giveUp.abort();
  };
}

/** When a peer whose CA is on its way out has renewed its SVID: as soon as we would have, ours being of the same age on the average, and a moment more. */
function replacementMs({ notBeforeMs, notAfterMs }: Svid): number {
  return hasteMs(notAfterMs - notBeforeMs, () => 1) + 2_000;
}
