import type {
  handleBidiStreamingCall,
  handleServerStreamingCall,
  handleUnaryCall,
  MethodDefinition,
  ServiceDefinition,
} from '@grpc/grpc-js';
import type { MessageType } from './message.ts';

/** Which sides of a call are streams. None of ours streams requests alone. */
export type CallKind = 'unary' | 'answers-stream' | 'both-stream';

/** One method of a gRPC service. */
export interface Method<Request extends object, Response extends object, Kind extends CallKind> {
  readonly kind: Kind;
  readonly request: MessageType<Request, object>;
  readonly response: MessageType<object, Response>;
}

export type Methods = Readonly<Record<string, Method<object, object, CallKind>>>;

/** A gRPC service, as data. */
export interface Service<M extends Methods = Methods> {
  /** With its package, if it has one. */
  readonly fullName: string;
  readonly methods: M;
}

/** What implements a service. */
export type Handlers<M extends Methods> = {
  readonly [K in keyof M]: M[K] extends Method<infer Request, infer Response, infer Kind>
    ? {
        unary: handleUnaryCall<Request, Response>;
        'answers-stream': handleServerStreamingCall<Request, Response>;
        'both-stream': handleBidiStreamingCall<Request, Response>;
      }[Kind]
    : never;
};

/** Defines a method. */
export function method<Request extends object, Response extends object, Kind extends CallKind>(
  kind: Kind,
  request: MessageType<Request, object>,
  response: MessageType<object, Response>,
): Method<Request, Response, Kind> {
  return { kind, request, response };
}

/** The service as @grpc/grpc-js wants it. */
export function grpcDefinition(service: Service): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(service.methods).map(
      ([name, { kind, request, response }]): [string, MethodDefinition<object, object>] => [
        name,
        {
          path: `/${service.fullName}/${name}`,
          requestStream: kind === 'both-stream',
          responseStream: kind !== 'unary',
          requestSerialize: (message) => Buffer.from(request.encode(message)),
          requestDeserialize: (bytes) => request.decode(bytes),
          responseSerialize: (message) => Buffer.from(response.encode(message)),
          responseDeserialize: (bytes) => response.decode(bytes),
        },
      ],
    ),
  );
}
