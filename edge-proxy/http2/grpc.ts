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

/** What gRPC clients take an HTTP status for (http-grpc-status-mapping.md), and Envoy gives its own answers; the rest is UNKNOWN. */
const byHttpStatus: Readonly<Record<number, number>> = {
  400: 13,
  401: 16,
  403: 7,
  404: 12,
  429: 14,
  502: 14,
  503: 14,
  504: 14,
};
/**
 * Codes of which we know more. SLV-4004: the time is over, DEADLINE_EXCEEDED. SLV-4015: RESOURCE_EXHAUSTED, as Envoy's with `rate_limited_as_resource_exhausted`:
 * UNAVAILABLE would be tried again and held against the instance.
 */
const ownStatuses: Partial<Record<ErrorCode, number>> = { 'SLV-4004': 4, 'SLV-4015': 8 };

/** The `grpc-status` of a refusal of ours. */
export function grpcStatusOf(code: ErrorCode): number {
  return ownStatuses[code] ?? byHttpStatus[errorCatalogue[code].status] ?? unknown;
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

/** A `grpc-timeout` that is not above `timeoutMs`, and above nothing: at most eight digits. */
export function grpcTimeout(timeoutMs: number): string {
  const whole = Math.max(1, Math.floor(timeoutMs));
  if (whole <= mostDigits) return `${whole}m`;
  return `${Math.min(mostDigits, Math.floor(whole / 1_000))}S`;
}

const mostDigits = 99_999_999;
