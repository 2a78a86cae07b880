import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { ByteStream } from '../byte-stream.ts';
import type { ResponseHead } from '../http1/message.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';

/** Why an exchange ended without an answer of the application's. */
export interface ExchangeFailure {
  readonly code: ErrorCode;
  readonly reason: string;
  /** Decision id of the proxy that refused, where it was another one. */
  readonly decision?: string;
}

/** The caller's side of an exchange. */
export interface ExchangeOwner {
  answerInformational(head: ResponseHead): void;
  answerHead(head: ResponseHead): void;
  answerBody(chunk: Buffer): void;
  /** What came at once of the answer has been told. */
  answerFlush(): void;
  /** The answer is whole. */
  answerComplete(trailers?: HeaderFields): void;
  /** Nothing has been sent to the caller yet: tell it why. */
  answerFailed(failure: ExchangeFailure): void;
  /** The answer broke after its head went down: all that is left is to cut the connection. */
  answerCut(code: ErrorCode, reason: string): void;
  /** 101 from the application: `stream` speaks something else from here on, and is the owner's. The exchange lasts until it is cancelled. */
  answerUpgraded(head: ResponseHead, stream: ByteStream): void;
  /** More of the request's body may come. */
  requestDrained(): void;
}
