import { createServer, type Socket } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import { grpcDefinition } from '#runtime/protobuf/service.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { type FetchJwtSvid, jwtCalls } from './jwt-calls.ts';
import { OpenStreams } from './open-streams.ts';
import { Reflection } from './reflection.ts';
import { sdsCalls } from './sds-calls.ts';
import type { Serving } from './state-stream.ts';
import { listenAtSocket, type WorkloadSocket } from './unix-socket.ts';
import { sdsFiles, secretService } from './wire/envoy-sds.ts';
import { reflectionProtocol } from './wire/grpc-reflection.ts';
import { workloadFile, workloadService } from './wire/spiffe-workload-api.ts';
import { Workload } from './workload.ts';
import { x509Calls } from './x509-calls.ts';

/**
 * The SPIFFE Workload API and Envoy's secret discovery for one workload, on a UNIX socket of its own. This folder is imported only when a socket is asked
 * for: gRPC is a large library.
 */

/** One workload and where it is served. */
export interface WorkloadApiOptions {
  readonly service: string;
  readonly socket: WorkloadSocket;
  readonly svid: SvidSource;
  readonly trust: TrustSource;
  readonly clock: Clock;
  readonly log: Logger;
  /** Takes the place of a process that still serves there. */
  readonly succeeds?: boolean;
  /** Absent: FetchJWTSVID is unimplemented. */
  readonly fetchJwtSvid?: FetchJwtSvid;
  /** Connections and streams at once; the defaults are for what a workload with a few SPIFFE libraries and an Envoy needs many times over. */
  readonly limits?: { readonly connections: number; readonly streams: number };
}

/** A Workload API that serves. */
export interface RunningWorkloadApi {
  /** Streams that are open now. */
  readonly openStreams: number;
  /** Takes the socket away, and ends all streams with UNAVAILABLE. */
  close(): Promise<void>;
}

const defaultLimits = { connections: 64, streams: 256 };
/** Bytes of a request. Envoy tells of all its extensions in its first one: 1.40 needs some 60 kB. */
const longestRequest = 1_048_576;

/** Starts the Workload API of one service. @throws MeshError as listenAtSocket */
export async function startWorkloadApi(options: WorkloadApiOptions): Promise<RunningWorkloadApi> {
  const { service, log, limits = defaultLimits } = options;
  const streams = new OpenStreams(limits.streams);
  const { trust, clock } = options;
  const serving: Serving = { workload: new Workload(options), trust, streams, clock, log };
  const grpc = new Server({
    'grpc.max_receive_message_length': longestRequest,
    'grpc.max_concurrent_streams': limits.streams,
    'grpc.enable_channelz': 0,
  });
  grpc.addService(grpcDefinition(workloadService), {
    ...x509Calls(serving),
    ...jwtCalls(serving, options.fetchJwtSvid),
  });
  grpc.addService(grpcDefinition(secretService), sdsCalls(serving));
  const protocols = [reflectionProtocol('v1'), reflectionProtocol('v1alpha')];
  const reflection = new Reflection([workloadFile, ...sdsFiles, ...protocols.map(({ file }) => file)]);
  for (const protocol of protocols)
    grpc.addService(grpcDefinition(protocol.service), { ServerReflectionInfo: reflection.handler(serving) });

  // The listener is ours, so that the socket can be made safely or be systemd's; gRPC is handed its connections.
  const connections = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const open = new Set<Socket>();
  const listener = createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', (err) => log.debug({ err, service }, 'Workload API: connection broken'));
    connections.injectConnection(socket);
  });
  listener.maxConnections = limits.connections;
  const unlisten = await listenAtSocket(listener, options.socket, options.succeeds);
  log.info({ service, socket: options.socket }, 'Workload API serves');
  return {
    get openStreams() {
      return streams.size;
    },
    async close() {
      streams.close();
      connections.destroy();
      // What the clients have not ended themselves by then is cut.
      const cut = setTimeout(() => {
        for (const socket of open) socket.destroy();
      }, farewellMs);
      await unlisten();
      clearTimeout(cut);
      grpc.forceShutdown();
    },
  };
}

/** For the last status to arrive. */
const farewellMs = 500;
