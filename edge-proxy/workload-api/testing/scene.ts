import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { pino } from 'pino';
import type { TrustDomain } from '#policies/spiffe-id.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { MessageType } from '#runtime/protobuf/message.ts';
import { type Svid, type SvidHolder, type SvidSource, svidHolder } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { type MiniCa, makeCa } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { type RunningWorkloadApi, startWorkloadApi, type WorkloadApiOptions } from '../main.ts';

/** A Workload API on a real socket in this process, whose SVIDs and bundles the test changes, and gRPC clients of it. */

export const webId = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';

/** Trust that a test changes. */
export interface MovableTrust extends TrustSource {
  readonly federated: readonly TrustDomain[];
  set(...bundles: readonly TrustBundle[]): void;
  revoke(serialOrId: string): void;
}

export interface Scene {
  readonly ca: MiniCa;
  readonly svid: SvidHolder;
  readonly trust: MovableTrust;
  readonly api: RunningWorkloadApi;
  readonly path: string;
  readonly log: Record<string, unknown>[];
  client(): Client;
  issue(): Svid;
}

/** @param options.svid `null`: there is none yet; a source: that one instead of the scene's */
export async function startScene(
  t: TestContext,
  options: Partial<Pick<WorkloadApiOptions, 'limits' | 'fetchJwtSvid'>> & { readonly svid?: null | SvidSource } = {},
): Promise<Scene> {
  const ca = makeCa('mesh.test');
  const issue = () => ca.issue({ spiffeId: webId });
  const svid = svidHolder(options.svid === undefined ? issue() : undefined);
  const trust = movableTrust(ca.bundle);
  const directory = mkdtempSync(join(tmpdir(), 'slv-'));
  const path = join(directory, 'web.sock');
  const log: Record<string, unknown>[] = [];
  const { limits, fetchJwtSvid } = options;
  const api = await startWorkloadApi({
    service: 'web',
    socket: { kind: 'path', path },
    svid: options.svid ?? svid,
    trust,
    clock: Date.now,
    log: pino({ level: 'debug' }, { write: (line: string) => log.push(JSON.parse(line)) }),
    ...(limits === undefined ? {} : { limits }),
    ...(fetchJwtSvid === undefined ? {} : { fetchJwtSvid }),
  });
  const clients: Client[] = [];
  t.after(async () => {
    for (const client of clients) client.close();
    await api.close();
    rmSync(directory, { recursive: true });
  });
  const client = () => {
    const made = new Client(`unix:${path}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
    clients.push(made);
    return made;
  };
  return { ca, svid, trust, api, path, log, client, issue };
}

function movableTrust(...initial: readonly TrustBundle[]): MovableTrust {
  let bundles = initial;
  const revoked = new Set<string>();
  const listeners = new Set<() => void>();
  const changed = () => {
    for (const listener of [...listeners]) listener();
  };
  return {
    own: initial[0]?.trustDomain,
    get federated() {
      return bundles.slice(1).map(({ trustDomain }) => trustDomain);
    },
    bundleOf: (trustDomain) => bundles.find((bundle) => bundle.trustDomain === trustDomain),
    isRevoked: (serialHex, id) => revoked.has(serialHex) || revoked.has(id),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    set(...next) {
      bundles = next;
      changed();
    },
    revoke(serialOrId) {
      revoked.add(serialOrId);
      changed();
    },
  };
}

/** The security header, as many times as asked. */
export function header(...values: readonly string[]): Metadata {
  const metadata = new Metadata();
  for (const value of values) metadata.add('workload.spiffe.io', value);
  return metadata;
}

/** A stream as its client sees it. */
export interface Received<Request, Response> {
  readonly messages: Response[];
  /** How it ended, once it has: undefined is well. */
  ended(): Promise<ServiceError | undefined>;
  /** Waits until there are so many messages. @returns the last of them */
  message(count: number): Promise<Response>;
  send(request: Request): void;
  cancel(): void;
  /** Ends the requests; the answers go on. */
  finish(): void;
}

/** What a client needs of a method: the types of both sides. */
interface ClientMethod<Request extends object, Response extends object> {
  readonly request: MessageType<object, Request>;
  readonly response: MessageType<Response, object>;
}

/** Calls a method whose answers are a stream; `request` is undefined where the requests are one too. */
export function openStream<Request extends object, Response extends object>(
  client: Client,
  path: string,
  types: ClientMethod<Request, Response>,
  request: Request | undefined,
  metadata = header('true'),
): Received<Request, Response> {
  const serialize = (message: Request) => Buffer.from(types.request.encode(message));
  const deserialize = (bytes: Buffer) => types.response.decode(bytes);
  const duplex =
    request === undefined ? client.makeBidiStreamRequest(path, serialize, deserialize, metadata) : undefined;
  const call =
    request === undefined || duplex !== undefined
      ? duplex
      : client.makeServerStreamRequest(path, serialize, deserialize, request, metadata);
  assert.ok(call !== undefined);
  const messages: Response[] = [];
  let end: { readonly error: ServiceError | undefined } | undefined;
  call.on('data', (message: Response) => messages.push(message));
  call.on('error', (error: ServiceError) => {
    end ??= { error };
  });
  call.on('end', () => setImmediate(() => (end ??= { error: undefined })));
  return {
    messages,
    ended: async () => (await waitFor('the stream to end', () => end)).error,
    message: (count) => waitFor(`message ${count}`, () => (messages.length >= count ? messages[count - 1] : undefined)),
    send: (message) => duplex?.write(message),
    cancel: () => call.cancel(),
    finish: () => duplex?.end(),
  };
}

/** Calls a method with one answer. Rejects with the ServiceError. */
export function ask<Request extends object, Response extends object>(
  client: Client,
  path: string,
  types: ClientMethod<Request, Response>,
  request: Request,
  metadata = header('true'),
): Promise<Response> {
  return new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      path,
      (message: Request) => Buffer.from(types.request.encode(message)),
      (bytes: Buffer) => types.response.decode(bytes),
      request,
      metadata,
      (error, response) => (response === undefined ? reject(error) : resolve(response)),
    ),
  );
}
