import { type GrpcTarget, grpcProbe } from './grpc-probe.ts';
import { type H2PingTarget, h2pingProbe } from './h2ping-probe.ts';
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
      return grpcProbe(target);
    case 'h2ping':
      return h2pingProbe(target);
    case 'script':
      return scriptProbe(target, limits);
  }
}
