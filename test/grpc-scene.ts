import { createServer } from 'node:net';
import type { TestContext } from 'node:test';
import {
  Client,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceError,
} from '@grpc/grpc-js';
import { type Mesh, type MeshOptions, startMesh } from './sidecars.ts';

/** gRPC through both proxies for tests, with @grpc/grpc-js as client and server. */

export const same = (bytes: Buffer): Buffer => bytes;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/shop.Orders/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
export const orders = {
  get: method('Get', false, false),
  sum: method('Sum', true, false),
  list: method('List', false, true),
  chat: method('Chat', true, true),
};

/** What the application does with a unary call. */
export type Unary = handleUnaryCall<Buffer, Buffer>;

export const echo: Unary = (call, callback) => {
  const trailer = new Metadata();
  trailer.set('x-source', String(call.metadata.get('selvedge-source')[0]));
  callback(null, call.request, trailer);
};
export const sum: handleClientStreamingCall<Buffer, Buffer> = (call, callback) => {
  let total = 0;
  call.on('data', (piece: Buffer) => {
    total += piece.length;
  });
  call.on('end', () => callback(null, Buffer.from(String(total))));
};
export const list: handleServerStreamingCall<Buffer, Buffer> = (call) => {
  for (let n = 0; n < 100; n++) call.write(Buffer.alloc(5_000, n));
  call.end();
};
export const chat: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
  call.on('data', (piece: Buffer) => call.write(Buffer.from(`heard ${piece}`)));
  call.on('end', () => call.end());
};

export interface Application {
  readonly server: ReturnType<typeof createServer>;
  stop(): void;
}

/** A server of grpc-js on sockets of a plain one. */
export function grpcApplication(calls: { get: Unary; list?: typeof list }): Application {
  const server = new Server();
  server.addService(orders, { sum, list, chat, ...calls });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  return { server: createServer((socket) => injector.injectConnection(socket)), stop: () => server.forceShutdown() };
}

export interface Scene {
  readonly mesh: Mesh;
  readonly server: Application['server'];
  readonly client: Client;
  /** Unary calls that the application has seen. */
  seen(): number;
}

export interface SceneOptions extends MeshOptions {
  readonly get?: Unary;
  readonly list?: typeof list;
  /** Further instances. */
  readonly others?: readonly Application[];
}

export async function scene(t: TestContext, options: SceneOptions = {}): Promise<Scene> {
  let seen = 0;
  const { get = echo, others = [] } = options;
  const own = grpcApplication({
    get(call, callback) {
      seen += 1;
      get(call, callback);
    },
    list: options.list ?? list,
  });
  const applications = [own, ...others];
  const mesh = await startMesh(t, {
    applications: applications.map(({ server }) => server),
    protocol: 'grpc',
    ...options,
  });
  const client = new Client(`127.0.0.1:${mesh.port}`, credentials.createInsecure());
  mesh.defer(() => {
    client.close();
    for (const { stop } of applications) stop();
  });
  return { mesh, client, server: own.server, seen: () => seen };
}

export interface Outcome {
  readonly answer: Buffer | undefined;
  readonly error: ServiceError | null;
  readonly trailers: Metadata | undefined;
}

export function get(
  client: Client,
  message: Buffer | string = 'hello',
  deadlineMs = 10_000,
  path: string = orders.get.path,
  fields: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
  return new Promise((resolve) => {
    let outcome: Omit<Outcome, 'trailers'> | undefined;
    let trailers: Metadata | undefined;
    const settle = () => {
      if (outcome !== undefined && trailers !== undefined) resolve({ ...outcome, trailers });
    };
    const call = client.makeUnaryRequest(
      path,
      same,
      same,
      Buffer.from(message),
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error, answer) => {
        outcome = { answer, error };
        settle();
      },
    );
    call.on('status', ({ metadata }) => {
      trailers = metadata;
      settle();
    });
  });
}

/** A message, and then what this says. */
export const speaks =
  (then: (call: ServerWritableStream<Buffer, Buffer>) => void): handleServerStreamingCall<Buffer, Buffer> =>
  (call) => {
    call.write(Buffer.from('here'));
    then(call);
  };

/** Has a list, to its end. @param onMessage is called at each. @returns its status */
export function listed(client: Client, onMessage: () => void = () => {}): Promise<number> {
  return new Promise((resolve) => {
    const call = client.makeServerStreamRequest(orders.list.path, same, same, Buffer.from('all'));
    call.on('error', () => {}); // its status says it
    call.on('status', ({ code }) => resolve(code));
    call.on('data', onMessage);
  });
}
