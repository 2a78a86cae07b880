import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Handlers } from '#runtime/protobuf/service.ts';
import { statusOf } from './rpc-error.ts';
import { DeltaSubscription, fetchOnce, WorldSubscription } from './sds-subscription.ts';
import { type Serving, StateStream } from './state-stream.ts';
import type { secretService } from './wire/envoy-sds.ts';
import type { WorkloadState } from './workload.ts';

/** Envoy's secret discovery (SDS v3): as a stream of the whole, of the changes, or once. Envoy sends no security header, so none is asked for. */
export function sdsCalls(serving: Serving): Handlers<(typeof secretService)['methods']> {
  return {
    StreamSecrets: (call) => serve(call, serving, new WorldSubscription(serving.log)),
    DeltaSecrets: (call) => serve(call, serving, new DeltaSubscription(serving.log)),
    FetchSecrets(call, done) {
      try {
        done(null, fetchOnce(call.request, serving.workload.state()));
      } catch (error) {
        done(statusOf(error, serving.log));
      }
    },
  };
}

interface Subscription<Request, Response> {
  take(request: Request): void;
  next(state: () => WorkloadState): Response | undefined;
}

function serve<Request extends object, Response extends object>(
  call: ServerDuplexStream<Request, Response>,
  serving: Serving,
  subscription: Subscription<Request, Response>,
): void {
  try {
    const stream = new StateStream<Response>(call, serving, () => subscription.next(() => serving.workload.state()));
    call.on('data', (request: Request) => {
      try {
        subscription.take(request);
      } catch (error) {
        stream.fail(error);
        return;
      }
      stream.update();
    });
    call.on('end', () => call.end());
  } catch (error) {
    call.emit('error', statusOf(error, serving.log));
  }
}
