import { type ServiceError, status } from '@grpc/grpc-js';
import { MeshError } from '#policies/errors/mesh-error.ts';

/**
 * What a failed call means for who asked.
 * - `final`: the answer is no, and stays no
 * - `not-begun`: surely nothing was done; the same may be asked again
 * - `unknown`: it may have been done
 */
export interface EtcdFailure {
  readonly outcome: 'final' | 'not-begun' | 'unknown';
  readonly error: MeshError;
}

/**
 * Sorts a failed call by its gRPC status and etcd's words, which are its API (api/v3rpc/rpctypes/error.go). "no leader" comes from the check that our
 * `hasleader` header asks for, before the request is looked at; "too many requests" likewise.
 */
export function etcdFailure(error: unknown, member: string): EtcdFailure {
  if (!isServiceError(error)) return { outcome: 'unknown', error: unavailable(member, String(error)) };
  const { code, details } = error;
  const said = (text: string): boolean => details.includes(text);
  if (said('has been compacted')) return final('SLV-3502', 'The asked revision is compacted.');
  if (said('future revision')) return final('SLV-3507', 'The asked revision is in the future.');
  if (said('requested lease not found')) return final('SLV-3503', 'The lease has expired or was never granted.');
  if (said('database space exceeded'))
    return final('SLV-3504', `etcd is full (${member}): compact, defragment, and disarm its NOSPACE alarm.`);
  if (said('request is too large') || (code === status.RESOURCE_EXHAUSTED && said('larger than max')))
    return final('SLV-3506', "The request is over etcd's --max-request-bytes.");
  if (said('no leader') || said('too many requests') || said('No connection established'))
    return { outcome: 'not-begun', error: unavailable(member, details) };
  switch (code) {
    case status.UNAUTHENTICATED:
    case status.PERMISSION_DENIED:
      return final('SLV-3509', `etcd at ${member} refuses us: ${details}.`);
    case status.UNIMPLEMENTED:
      return final('SLV-3509', `What answers at ${member} is not etcd 3.4 or newer.`);
    case status.INVALID_ARGUMENT:
    case status.FAILED_PRECONDITION:
    case status.OUT_OF_RANGE:
    case status.NOT_FOUND:
      return final('SLV-3507', `etcd refused the request: ${details}.`);
    default:
      return { outcome: 'unknown', error: unavailable(member, details) };
  }
}

/** @param reason for people; never a secret: etcd's words or those of a socket */
export function unavailable(member: string, reason: string): MeshError {
  return new MeshError('SLV-3505', `etcd at ${member} does not answer: ${reason}.`);
}

function final(code: ConstructorParameters<typeof MeshError>[0], message: string): EtcdFailure {
  return { outcome: 'final', error: new MeshError(code, message) };
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error;
}
