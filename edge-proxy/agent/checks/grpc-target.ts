import { formatHostPort, type HostPort } from './host-port.ts';
import type { ProbeTls } from './probe.ts';

/** grpc.health.v1.Health/Check. */
export interface GrpcTarget extends HostPort {
  readonly kind: 'grpc';
  /** '' asks for the server as a whole. */
  readonly service: string;
  readonly tls: ProbeTls | undefined;
}

/** `host:port[/service]`, Consul's form. */
export function formatGrpcTarget(target: GrpcTarget): string {
  return formatHostPort(target) + (target.service === '' ? '' : `/${target.service}`);
}
