import { enumeration, message, string } from '#runtime/protobuf/message.ts';

/** The health checking protocol of gRPC: https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
const servingStatus = {
  enumName: 'ServingStatus',
  values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 },
} as const;

export const healthCheckRequest = message('grpc.health.v1.HealthCheckRequest', { service: string(1) });
export const healthCheckResponse = message('grpc.health.v1.HealthCheckResponse', {
  status: enumeration(1, servingStatus),
});

/** What a server that is well answers. */
export const serving = servingStatus.values.SERVING;

/** The status by its name in the protocol. */
export function servingStatusName(status: number): string {
  const found = Object.entries(servingStatus.values).find(([, value]) => value === status);
  return found?.[0] ?? String(status);
}
