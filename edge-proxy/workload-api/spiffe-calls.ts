import {
  type Metadata,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import type { MessageType } from '#runtime/protobuf/message.ts';
import { RpcError, statusOf } from './rpc-error.ts';
import { type Serving, StateStream } from './state-stream.ts';
import type { WorkloadState } from './workload.ts';

/** The shapes of the Workload API's calls. Each demands the security header first (SPIFFE Workload Endpoint 6.1). */

/** A stream of the whole state: at once, then after each change that changes the message. */
export function streamState<Response extends object>(
  serving: Serving,
  type: MessageType<object, Response>,
  build: (state: WorkloadState) => Response,
): (call: ServerWritableStream<object, Response>) => void {
  return (call) => {
    try {
      requireSecurityHeader(call.metadata);
      let sent: Uint8Array = new Uint8Array();
      let first = true;
      const stream = new StateStream(call, serving, () => {
        const message = build(serving.workload.state());
        const bytes = type.encode(message);
        if (!first && Buffer.compare(sent, bytes) === 0) return undefined;
        first = false;
        sent = bytes;
        return message;
      });
      stream.update();
    } catch (error) {
      call.emit('error', statusOf(error, serving.log));
    }
  };
}

/** One answer to one request. */
export function answerOnce<Request extends object, Response>(
  serving: Serving,
  answer: (request: Request) => Promise<Response>,
): (call: ServerUnaryCall<Request, Response>, done: sendUnaryData<Response>) => void {
  return (call, done) => {
    const answering = async () => {
      requireSecurityHeader(call.metadata);
      return answer(call.request);
    };
    answering().then(
      (response) => done(null, response),
      (error: unknown) => done(statusOf(error, serving.log)),
    );
  };
}

/** A method of the Workload API that is not offered. */
export function unimplemented(serving: Serving, why: string): (call: ServerWritableStream<object, object>) => void {
  return (call) => call.emit('error', statusOf(new RpcError(status.UNIMPLEMENTED, why), serving.log));
}

/** The header keeps requests out that a browser, or a proxy tricked into it, was made to send: it must be there, exactly once and exactly so. */
function requireSecurityHeader(metadata: Metadata): void {
  const values = metadata.get('workload.spiffe.io');
  if (values.length !== 1 || values[0] !== 'true')
    throw new RpcError(status.INVALID_ARGUMENT, 'security header missing from request');
}
