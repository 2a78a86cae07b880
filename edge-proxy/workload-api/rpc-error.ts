import { status } from '@grpc/grpc-js';
import type { Logger } from '#runtime/logging.ts';

/** A refusal as gRPC tells it. Codes: SPIFFE Workload API, "Error Codes"; xDS has none of its own. */
export class RpcError extends Error {
  readonly code: status;

  /** @param details one sentence for the caller: no secret, nothing of another workload */
  constructor(code: status, details: string) {
    super(details);
    this.name = 'RpcError';
    this.code = code;
  }
}

/** The status to end a call with. What is no refusal is a fault of ours: logged, and not told. */
export function statusOf(error: unknown, log: Logger): { readonly code: status; readonly details: string } {
  if (error instanceof RpcError) return { code: error.code, details: error.message };
  log.error({ err: error }, 'Workload API: a call failed');
  return { code: status.INTERNAL, details: 'internal error; the log of the edge proxy has its cause' };
}
