import type { ByteStream, ByteStreamHandlers } from './byte-stream.ts';
import { endWithFarewell } from './farewell.ts';
import type { IdleGuard } from './idle-sweep.ts';
import type { Drainable, ServingContext } from './server-stream.ts';
import { connectionPreface } from './tunnel/http2.ts';

/** How long the rest of a preface may take, ms. */
const prefaceTimeoutMs = 10_000;

const nothing = Buffer.alloc(0);

/** Who serves a connection from its first byte on. Takes its handlers over in that call. */
export interface HttpVersions {
  http1(stream: ByteStream): void;
  /** It begins with the whole preface. */
  http2(stream: ByteStream): void;
}

/**
 * The beginning of a connection, until it tells which HTTP it is: HTTP/2 by prior knowledge begins with a preface (RFC 9113 3.4) that is no request of HTTP/1.1,
 * mostly from its first byte on. What is neither is HTTP/1.1's to refuse. Nothing of it stays behind that.
 */
class HttpBeginning implements Drainable, ByteStreamHandlers {
  before: Drainable | undefined;
  after: Drainable | undefined;
  linkedIn: object | undefined;
  ofUpstream: Drainable['ofUpstream'];
  readonly #stream: ByteStream;
  readonly #context: ServingContext;
  readonly #versions: HttpVersions;
  /** The part of a preface that has come. */
  #begun: Buffer = nothing;
  #guard: IdleGuard;

  constructor(stream: ByteStream, context: ServingContext, idleTimeoutMs: number, versions: HttpVersions) {
    this.#stream = stream;
    this.#context = context;
    this.#versions = versions;
    this.#guard = context.sweep.guard(idleTimeoutMs, () => stream.destroy());
    context.serving.add(this);
    stream.handlers = this;
    stream.resume();
  }

  drain(): void {
    this.#leave();
    endWithFarewell(this.#stream, this.#context.sweep);
  }

  onData(chunk: Buffer): void {
    const first = this.#begun.length === 0;
    this.#begun = first ? chunk : Buffer.concat([this.#begun, chunk]);
    const size = Math.min(this.#begun.length, connectionPreface.length);
    if (this.#begun.compare(connectionPreface, 0, size, 0, size) !== 0) this.#become('http1');
    else if (size === connectionPreface.length) this.#become('http2');
    else if (first) this.#hurry();
  }

  onEnd(): void {
    this.#become('http1');
    this.#stream.handlers.onEnd();
  }

  onDrain(): void {}

  onClose(): void {
    this.#leave();
  }

  /** A preface comes at once, or somebody holds a connection for nothing. */
  #hurry(): void {
    const { sweep } = this.#context;
    sweep.release(this.#guard);
    this.#guard = sweep.guard(prefaceTimeoutMs, () => this.#stream.destroy());
  }

  #become(version: keyof HttpVersions): void {
    this.#leave();
    this.#versions[version](this.#stream);
    if (this.#begun.length > 0) this.#stream.handlers.onData(this.#begun);
  }

  #leave(): void {
    this.#context.sweep.release(this.#guard);
    this.#context.serving.delete(this);
  }
}

/**
 * Has a connection served in the version of HTTP that it begins with. A stream that is paused is read on.
 *
 * @param idleTimeoutMs how long it may take to begin
 */
export function serveHttpVersion(
  stream: ByteStream,
  context: ServingContext,
  idleTimeoutMs: number,
  versions: HttpVersions,
): void {
  new HttpBeginning(stream, context, idleTimeoutMs, versions);
}
