import type { GrpcTarget } from './grpc-target.ts';
import type { H2PingTarget } from './h2ping-probe.ts';
import { type HttpTarget, httpProbe } from './http-probe.ts';
import type { Probe, ProbeLimits } from './probe.ts';
import { type ScriptTarget, scriptProbe } from './script-probe.ts';
import { type TcpTarget, tcpProbe } from './tcp-probe.ts';
import { type UdpTarget, udpProbe } from './udp-probe.ts';

/** What is looked at, and how. */
export type ProbeTarget = HttpTarget | TcpTarget | UdpTarget | GrpcTarget | H2PingTarget | ScriptTarget;

/** The probe for a target. */
export function openProbe(target: ProbeTarget, limits: ProbeLimits): Probe {
  switch (target.kind) {
    case 'http':
      return httpProbe(target, limits);
    case 'tcp':
      return tcpProbe(target);
    case 'udp':
      return udpProbe(target, limits);
    case 'grpc':
      return whenAsked(async () => (await import('./grpc-probe.ts')).grpcProbe(target));
    case 'h2ping':
      return whenAsked(async () => (await import('./h2ping-probe.ts')).h2pingProbe(target));
    case 'script':
      return scriptProbe(target, limits);
  }
}

/** A probe whose code is loaded at its first look: most hosts have no check over HTTP/2, and node:http2 and protobuf would be 2 MB of each proxy. */
function whenAsked(load: () => Promise<Probe>): Probe {
  let loaded: Promise<Probe> | undefined;
  return async (signal) => {
    loaded ??= load();
    return (await loaded)(signal);
  };
}
