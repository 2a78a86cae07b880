import type { GrpcRetryCondition, RetryPolicy } from '#policies/resilience.ts';
import { isIdempotent } from './idempotency.ts';

/**
 * How a try failed. `connect-failure`: no connection; `refused`: the far proxy says that the application was not reached, or refused the
 * stream; `reset`: broken off with the outcome unknown; `timeout`: no head in time; `status`: an answer, `limited` where a rate limit gave it: that of the far
 * proxy, before the application, or one of which only Envoy's header tells; `grpc-status`: one of gRPC that is nothing else.
 */
export type FailedTry =
  | { readonly kind: 'connect-failure' | 'refused' | 'reset' | 'timeout' }
  | { readonly kind: 'status'; readonly status: number; readonly limited?: 'by-proxy' | 'somewhere' }
  | { readonly kind: 'grpc-status'; readonly status: number };

/** All that the decision rests on. */
export interface RetryQuestion {
  readonly failed: FailedTry;
  readonly method: string;
  /** Tries made so far, from 1. */
  readonly attempt: number;
  /** A byte of an answer went down to the caller. */
  readonly answerBegan: boolean;
  /** The request has no body, or all of it that came is still held. */
  readonly bodyReplayable: boolean;
  /** Left of the request's total time, in ms. */
  readonly remainingMs: number;
}

/** `retry`, or why not. */
export type RetryDecision =
  | 'retry'
  | 'answer-began'
  | 'attempts-used-up'
  | 'condition-not-listed'
  | 'not-idempotent'
  | 'body-not-replayable'
  | 'no-time-left';

/**
 * Whether a failed try may be made again, the budget aside: ask that last, since asking takes from it (RetryBudget.take). A mesh 403 is
 * no failed try and is never asked about; a 403 of an application matches no condition.
 */
export function decideRetry(policy: RetryPolicy, question: RetryQuestion): RetryDecision {
  if (question.answerBegan) return 'answer-began';
  if (question.attempt > policy.attempts) return 'attempts-used-up';
  if (!isListed(policy, question.failed)) return 'condition-not-listed';
  if (!mayRepeat(question.failed) && !policy.retryNonIdempotent && !isIdempotent(question.method))
    return 'not-idempotent';
  if (!question.bodyReplayable) return 'body-not-replayable';
  return question.remainingMs > 0 ? 'retry' : 'no-time-left';
}

/** The application surely did not see the request; or whoever listed its gRPC status has said that it may be made again. */
function mayRepeat(failed: FailedTry): boolean {
  if (failed.kind === 'status') return failed.limited === 'by-proxy';
  return failed.kind === 'connect-failure' || failed.kind === 'refused' || failed.kind === 'grpc-status';
}

/** google.rpc.Code by its word in a policy. */
const grpcConditions: Readonly<Record<number, GrpcRetryCondition>> = {
  1: 'cancelled',
  4: 'deadline-exceeded',
  8: 'resource-exhausted',
  13: 'internal',
  14: 'unavailable',
};

function isListed(policy: RetryPolicy, failed: FailedTry): boolean {
  if (failed.kind === 'grpc-status') {
    const condition = grpcConditions[failed.status];
    return condition !== undefined && policy.on.includes(condition);
  }
  if (failed.kind !== 'status') return policy.on.includes(failed.kind);
  const { status, limited } = failed;
  if (limited !== undefined && policy.on.includes('envoy-ratelimited')) return true;
  if (policy.statuses?.includes(status) === true) return true;
  if (status >= 502 && status <= 504 && policy.on.includes('gateway-error')) return true;
  return status >= 500 && status <= 599 && policy.on.includes('5xx');
}
