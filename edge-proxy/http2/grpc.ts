import { type ErrorCode, errorCatalogue } from '#policies/errors/catalogue.ts';

/** What the proxies know of gRPC over HTTP/2: how a call is known, how it is refused, and what its status is worth. */

/** Whether a content type is gRPC's: `application/grpc`, `application/grpc+proto`, `application/grpc;…`; not `application/grpc-web`. */
export function isGrpc(contentType: string): boolean {
  return /^application\/grpc(?:[+;]|$)/i.test(contentType);
}

/** google.rpc.Code as HTTP statuses (google/rpc/code.proto): by them gRPC calls are counted, and judged by the breaker. */
const httpStatuses = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401] as const;
const unknown = 2;

/** The code of a `grpc-status`; what is none is UNKNOWN, as clients take it. */
export function grpcCodeOf(grpcStatus: string): number {
  return /^\d{1,2}$/.test(grpcStatus) && Number(grpcStatus) < httpStatuses.length ? Number(grpcStatus) : unknown;
}

/** The HTTP status that a `grpc-status` is worth. */
export function httpStatusOf(grpcStatus: string): number {
  return httpStatuses[grpcCodeOf(grpcStatus)] ?? httpStatuses[unknown];
}

/** Codes whose gRPC status is another than their HTTP status says. SLV-4006: a full bulkhead is RESOURCE_EXHAUSTED. */
const ownStatuses: Partial<Record<ErrorCode, number>> = { 'SLV-4006': 8 };
const byHttpStatus: Readonly<Record<number, number>> = { 403: 7, 429: 8, 431: 8, 501: 12, 502: 14, 503: 14, 504: 4 };
const invalidArgument = 3;

/** The `grpc-status` of a refusal of ours. */
export function grpcStatusOf(code: ErrorCode): number {
  return ownStatuses[code] ?? byHttpStatus[errorCatalogue[code].status] ?? invalidArgument;
}

/** `grpc-message`: percent-encoded where it is not printable ASCII. */
export function grpcMessage(text: string): string {
  return text.replaceAll(/[^\x20-\x24\x26-\x7e]/gu, (character) => encodeURIComponent(character.toWellFormed()));
}

const unitsMs: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 0.001, n: 0.000_001 };

/** What `grpc-timeout` says, ms; undefined where it is none. */
export function grpcTimeoutMs(text: string | undefined): number | undefined {
  const [, digits, unit] = /^(\d{1,8})([HMSmun])$/.exec(text ?? '') ?? [];
  return digits === undefined ? undefined : Number(digits) * (unitsMs[unit ?? ''] ?? 0);
}
