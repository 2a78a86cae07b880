import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import { jsonAnswer, textAnswer } from '#runtime/http-answer.ts';
import type { Logger } from '#runtime/logging.ts';
import type { Metrics } from '#runtime/metrics.ts';
import { formatSocketAddress } from '#runtime/socket-address.ts';
import type { MeshIdentity } from '#runtime/svid/mesh-identity.ts';
import type { AdminRoutes } from './admin-routes.ts';
import { breakerRoutes, forcedSeconds } from './breaker-admin.ts';
import type { DecisionLog } from './decisions.ts';
import type { NamedBreaker } from './outbound/calls-of-targets.ts';
import type { Sidecar } from './sidecar.ts';

/** What the admin API shows. */
export interface AdminSubject {
  readonly sidecars: readonly Sidecar[];
  readonly identity: MeshIdentity;
  readonly metrics: Metrics;
  readonly decisions: DecisionLog;
  readonly clock: Clock;
  readonly log: Logger;
  draining(): boolean;
}

const longestList = 500;

/**
 * The proxy's own HTTP API, on loopback: `/metrics`, `/livez`, `/readyz`, `/status`, `/breakers`, `/decisions`, `/decisions/ID`. Never on a mesh port
 * (CVE-2024-40632). All but the setting of breakers only reads. It needs memory only, so it answers with everything else down.
 */
export function adminRoutes(subject: AdminSubject): AdminRoutes {
  return {
    async 'GET /metrics'() {
      const { contentType, text } = await subject.metrics.exposition();
      return textAnswer(text, 200, contentType);
    },
    'GET /livez': () => textAnswer('ok\n'),
    'GET /readyz'() {
      const waiting = subject.sidecars.filter((sidecar) => !sidecar.ready).map((sidecar) => sidecar.config.service);
      if (subject.draining()) return textAnswer('draining\n', 503);
      if (waiting.length > 0) return textAnswer(`not ready: ${waiting.join(', ')} without SVID or intentions\n`, 503);
      return textAnswer('ok\n');
    },
    'GET /status': () => jsonAnswer(status(subject)),
    ...breakerRoutes(subject.sidecars, subject.clock, subject.log),
    'GET /decisions': () => jsonAnswer(subject.decisions.latest(longestList)),
    'GET /decisions/*'({ rest }) {
      const found = subject.decisions.find(rest);
      if (found === undefined) {
        throw new MeshError(
          'SLV-1010',
          'no such decision: this proxy did not take it, or it is among those forgotten since',
        );
      }
      return jsonAnswer(found);
    },
  };
}

function meshListeners({ meshListeners: listeners }: Sidecar): object | null {
  if (listeners === undefined) return null;
  return { listening: listeners.listening, conflicts: listeners.conflicts.slice(0, longestList) };
}

/** Of one instance: one for each target that has it. `forcedSeconds`: by an operator, for so long now; null: it is on its own. */
function breakersOf(breakers: readonly NamedBreaker[] | undefined, now: number): object[] {
  return (breakers ?? []).map(({ target, breaker }) => {
    const { state, forcedSinceMs } = breaker.snapshot();
    return { target, state, forcedSeconds: forcedSinceMs === null ? null : forcedSeconds(forcedSinceMs, now) };
  });
}

function status(subject: AdminSubject): object {
  const now = subject.clock();
  return {
    trustDomain: subject.identity.trustDomain,
    datacenter: subject.identity.datacenter,
    bundleSequence: subject.identity.trust.sequence,
    draining: subject.draining(),
    services: subject.sidecars.map((sidecar) => {
      const svid = sidecar.svid.current;
      const breakers = Map.groupBy(sidecar.targets.breakers, ({ endpoint }) => endpoint);
      return {
        service: sidecar.config.service,
        ready: sidecar.ready,
        svid:
          svid === undefined
            ? null
            : {
                spiffeId: svid.spiffeId,
                serial: svid.serialHex,
                notAfter: new Date(svid.notAfterMs).toISOString(),
                secondsLeft: Math.round((svid.notAfterMs - now) / 1_000),
              },
        view: {
          origin: sidecar.view.origin,
          revision: sidecar.view.revision,
          confirmedSecondsAgo:
            sidecar.view.confirmedAtMs === 0 ? null : Math.round((now - sidecar.view.confirmedAtMs) / 1_000),
          feed: sidecar.feed.state,
        },
        inbound:
          sidecar.inboundPort === undefined
            ? null
            : { port: sidecar.inboundPort, live: sidecar.live.size, normalization: sidecar.view.normalization },
        httpProxy: sidecar.httpProxyPort === undefined ? null : { port: sidecar.httpProxyPort },
        meshListeners: meshListeners(sidecar),
        upstreams: sidecar.upstreams.map((upstream) => ({
          name: upstream.name,
          localPort: sidecar.outboundPorts.get(upstream.name) ?? null,
          /** Null before the catalog has told of it. */
          protocol: upstream.known ? upstream.protocol : null,
          normalization: upstream.normalization,
          /** Undefined where all calls go to the instances of one target. */
          routed: upstream.routed,
          endpoints: upstream.endpoints.map((endpoint) => ({
            id: endpoint.id,
            address: formatSocketAddress(endpoint),
            expected: endpoint.spiffeId,
            /** The SPIFFE ID that it proved at the last handshake. */
            verified: endpoint.verified ?? null,
            status: endpoint.status,
            breakers: breakersOf(breakers.get(endpoint.id), now),
            tunnels: endpoint.tunnels.size,
            inFlight: endpoint.inFlight,
          })),
        })),
      };
    }),
  };
}
