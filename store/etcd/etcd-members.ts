import { setTimeout as delay } from 'node:timers/promises';
import { type ChannelCredentials, Client, type ClientDuplexStream, connectivityState, Metadata } from '@grpc/grpc-js';
import type { MessageType } from '#runtime/protobuf/message.ts';
import type { EtcdCall } from './etcd-api.ts';
import { type EtcdFailure, etcdFailure, unavailable } from './etcd-error.ts';

/** All tries of one call together. Longer than an election, which takes one to two seconds. */
const callTimeoutMs = 10_000;
/** One try of a call that may be repeated; a member that is cut off from the others would let it wait for seven seconds. */
const tryTimeoutMs = 3_000;
/** Until a connection is there, before the next member is tried. */
const connectTimeoutMs = 1_000;
const betweenTriesMs = 100;

/** A member that has lost its leader says so at once instead of letting the call wait (etcd's client does the same with WithRequireLeader). */
const requireLeader = new Metadata();
requireLeader.set('hasleader', 'true');

const channelOptions = {
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 500,
  'grpc.max_reconnect_backoff_ms': 2_000,
  // A range may be all that the store holds.
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
};

interface Member {
  /** `host:port` */
  readonly address: string;
  readonly client: Client;
}

/**
 * The members of a cluster. Any may be asked; one is, until it fails, then the next. What may have been done is never asked twice: a transaction that broke
 * off is reported as such (SLV-3505), since a client that repeats it loses updates (Jepsen, jetcd 0.8.2).
 */
export class EtcdMembers {
  readonly #members: readonly Member[];
  #current = 0;

  /** @param addresses `host:port`, at least one */
  constructor(addresses: readonly string[], credentials: ChannelCredentials) {
    this.#members = addresses.map((address) => ({ address, client: new Client(address, credentials, channelOptions) }));
  }

  /**
   * The request is encoded before this returns: the caller may reuse its buffers.
   *
   * @throws MeshError SLV-3502 to SLV-3507, SLV-3509
   */
  async call<Request extends object, Response extends object>(
    call: EtcdCall<Request, Response>,
    request: Request,
  ): Promise<Response> {
    const encoded = Buffer.from(call.request.encode(request));
    const deadlineMs = performance.now() + callTimeoutMs;
    for (;;) {
      const member = this.#member();
      const failure = await this.#try(member, call, encoded, deadlineMs);
      if ('response' in failure) return failure.response;
      if (failure.outcome === 'final') throw failure.error;
      this.#leave(member);
      const again = failure.outcome === 'not-begun' || call.repeatable;
      if (!again || performance.now() + betweenTriesMs >= deadlineMs) throw failure.error;
      await delay(betweenTriesMs);
    }
  }

  /** A stream both ways, on a member that is connected. @throws MeshError SLV-3505 when none is */
  async stream<Request extends object, Response extends object>(
    path: string,
    request: MessageType<object, Request>,
    response: MessageType<Response, object>,
  ): Promise<{ readonly call: ClientDuplexStream<Request, Response>; fail(error: unknown): EtcdFailure }> {
    let reason = 'no connection';
    for (let tried = 0; tried < this.#members.length; tried++) {
      const member = this.#member();
      try {
        await connected(member, connectTimeoutMs);
      } catch (error) {
        reason = `no connection (${String(error)})`;
        this.#leave(member);
        continue;
      }
      const call = member.client.makeBidiStreamRequest<Request, Response>(
        path,
        (message) => Buffer.from(request.encode(message)),
        (bytes) => response.decode(bytes),
        requireLeader,
      );
      const fail = (error: unknown): EtcdFailure => {
        this.#leave(member);
        return etcdFailure(error, member.address);
      };
      return { call, fail };
    }
    throw unavailable(this.#members.map(({ address }) => address).join(', '), reason);
  }

  close(): void {
    for (const { client } of this.#members) client.close();
  }

  #member(): Member {
    const member = this.#members[this.#current];
    if (member === undefined) throw unavailable('no address', 'none is configured');
    return member;
  }

  /** Goes to the next member, unless somebody already did. */
  #leave(member: Member): void {
    if (this.#member() === member) this.#current = (this.#current + 1) % this.#members.length;
  }

  async #try<Request extends object, Response extends object>(
    member: Member,
    call: EtcdCall<Request, Response>,
    encoded: Buffer,
    deadlineMs: number,
  ): Promise<{ readonly response: Response } | EtcdFailure> {
    const leftMs = deadlineMs - performance.now();
    try {
      await connected(member, Math.min(leftMs, connectTimeoutMs));
    } catch {
      return { outcome: 'not-begun', error: unavailable(member.address, 'no connection') };
    }
    const timeoutMs = call.repeatable && this.#members.length > 1 ? Math.min(leftMs, tryTimeoutMs) : leftMs;
    const { promise, resolve } = Promise.withResolvers<{ readonly response: Response } | EtcdFailure>();
    member.client.makeUnaryRequest<Buffer, Response>(
      call.path,
      (bytes) => bytes,
      (bytes) => call.response.decode(bytes),
      encoded,
      requireLeader,
      { deadline: Date.now() + timeoutMs },
      (error, response) => {
        if (response !== undefined) resolve({ response });
        else resolve(etcdFailure(error, member.address));
      },
    );
    return promise;
  }
}

function connected({ client }: Member, timeoutMs: number): Promise<void> {
  if (client.getChannel().getConnectivityState(true) === connectivityState.READY) return Promise.resolve();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client.waitForReady(Date.now() + timeoutMs, (error) => (error === undefined ? resolve() : reject(error)));
  return promise;
}
