import type { OutgoingRequest } from './client-stream.ts';
import { headerValues } from './http1/forwardable-headers.ts';
import { grpcTimeout, grpcTimeoutMs } from './http2/grpc.ts';

/** How long the caller of a gRPC call waits for all of it (`grpc-timeout`), ms; undefined: it sets no end, or this is no call. */
export function callTimeoutMs({ http2, headers }: OutgoingRequest): number | undefined {
  return http2?.grpc === true ? grpcTimeoutMs(headerValues(headers, 'grpc-timeout')[0]) : undefined;
}

/**
 * A call as it goes on: it says what is left of the time that its caller gave. As it came, where hardly any has passed: its unit may be a finer one.
 *
 * @param timeoutMs what the caller gave
 */
export function withTimeLeft(call: OutgoingRequest, timeoutMs: number, leftMs: number): OutgoingRequest {
  if (timeoutMs - leftMs < 1) return call;
  const headers: string[] = [];
  call.headers.forEach((value, at) => {
    if (call.headers[at - (at % 2)] !== 'grpc-timeout') headers.push(value);
  });
  headers.push('grpc-timeout', grpcTimeout(leftMs));
  return { ...call, headers };
}
