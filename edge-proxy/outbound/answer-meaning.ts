import { sameName } from '../http1/header-kind.ts';
import type { ResponseHead } from '../http1/message.ts';
import { grpcCodeOf, httpStatusOf } from '../http2/grpc.ts';
import type { FailedTry } from '../resilience/retry-decision.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';

/**
 * What the head of an answer says of the try: `denied`, by an intention; `open`: a gRPC call whose status comes with its end; `not-reached`: the far proxy says that
 * its application was not; `answered`: by the application, worth an HTTP status. `failed`: how the try failed, where the retry policy may have a say.
 */
export type AnswerMeaning =
  | { readonly kind: 'denied' }
  | { readonly kind: 'open' }
  | { readonly kind: 'not-reached'; readonly failed: FailedTry }
  | { readonly kind: 'answered'; readonly status: number; readonly failed: FailedTry | undefined };

const denied: AnswerMeaning = { kind: 'denied' };
const notReached: AnswerMeaning = { kind: 'not-reached', failed: { kind: 'refused' } };
const open: AnswerMeaning = { kind: 'open' };
const permissionDenied = '7';
/** Envoy's word for it: a rate limit answered, not the application. */
const rateLimited = 'x-envoy-ratelimited';

/**
 * Reads a head. What the far proxy says of itself can be believed: applications can't say it, their `selvedge-*` headers are stripped there.
 *
 * @param grpc it answers a gRPC call
 */
export function meaningOf(head: ResponseHead, grpc: boolean): AnswerMeaning {
  const { status, headers } = head;
  let grpcStatus: string | undefined;
  let decided = false;
  let limited = false;
  if (status >= 400 || grpc) {
    for (let at = 0; at < headers.length; at += 2) {
      const name = headers[at];
      if (name === 'selvedge-reached') return notReached;
      if (name === 'selvedge-decision') decided = true;
      else if (name?.length === rateLimited.length && sameName(name, rateLimited)) limited = true;
      else if (grpc && name === 'grpc-status') grpcStatus = headers[at + 1];
    }
  }
  if (decided && (status === 403 || grpcStatus === permissionDenied)) return denied;
  if (decided && status === 429) return { kind: 'answered', status, failed: limitedBy('by-proxy', status) };
  if (limited && status !== 200) return { kind: 'answered', status, failed: limitedBy('somewhere', status) };
  if (!grpc || status !== 200) return { kind: 'answered', status, failed: { kind: 'status', status } };
  return grpcStatus === undefined ? open : grpcAnswer(grpcStatus);
}

function limitedBy(limited: 'by-proxy' | 'somewhere', status: number): FailedTry {
  return { kind: 'status', status, limited };
}

/** Whether a gRPC call whose head left it open has succeeded, by its trailers: the HTTP status that it is worth. */
export function statusAtEnd(trailers: HeaderFields | undefined): number {
  return httpStatusOf(trailers?.find(([name]) => name === 'grpc-status')?.[1] ?? '');
}

function grpcAnswer(grpcStatus: string): AnswerMeaning {
  const code = grpcCodeOf(grpcStatus);
  const failed: FailedTry | undefined = code === 0 ? undefined : { kind: 'grpc-status', status: code };
  return { kind: 'answered', status: httpStatusOf(grpcStatus), failed };
}
