/** How the end of a body is found. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' };

/** No body. */
export const noBody: Framing = { kind: 'none' };
/** A body in chunks. */
export const chunkedBody: Framing = { kind: 'chunked' };
/** A body that ends with the connection: answers only. */
export const untilClose: Framing = { kind: 'until-close' };

/** What only a request of HTTP/2 has. */
export interface Http2Traits {
  /** It says `te: trailers`. */
  readonly takesTrailers: boolean;
  /** It is a gRPC call: refusals are a `grpc-status`, and that is what counts as success. */
  readonly grpc: boolean;
}

/** The head of a request that every strict parser reads in the same way. */
export interface RequestHead {
  /** A token, case as sent: `get` is not `GET`. */
  readonly method: string;
  /** As sent: origin-form, `*` with OPTIONS, or absolute-form with scheme http. Not canonical: see #policies/canonical-request.ts. */
  readonly target: string;
  readonly minorVersion: 0 | 1;
  /** name, value, name, value: names in original case, values without blanks around, in the order sent. Latin1. */
  readonly headers: readonly string[];
  /** The name of a header holds an underscore: what becomes of it is its service's to say (edge-proxy/normalised-request.ts). */
  readonly underscored: boolean;
  /** Host, or the authority of an absolute target (they agree). As sent. Undefined only in HTTP/1.0. */
  readonly host: string | undefined;
  readonly framing: Framing;
  /** The caller would send another request on this connection. */
  readonly keepAlive: boolean;
  /** The caller waits for `100 Continue`: answer it ourselves (`continueResponse`). */
  readonly expectContinue: boolean;
  /** The Upgrade header where Connection asks for it, without h2c; never with a body. */
  readonly upgrade: string | undefined;
  /** Headers that Connection names, lower case: not to be forwarded. */
  readonly connectionOptions: readonly string[];
  /** Absent: it is of HTTP/1. */
  readonly http2?: Http2Traits;
}

/** What goes on of a head that repeats: made once, for all of its repetitions. */
export interface Onward {
  headers?: readonly string[];
  /** The encoded head with these headers, in the framing in which it came, on a connection that goes on. */
  text?: string;
}

/** The head of an answer. */
export interface ResponseHead {
  readonly minorVersion: 0 | 1;
  /** 100..599. */
  readonly status: number;
  /** May be empty. Latin1. */
  readonly reason: string;
  /** As in RequestHead. */
  readonly headers: readonly string[];
  readonly framing: Framing;
  readonly keepAlive: boolean;
  /** What Content-Length says, also where no body follows (HEAD, 304), in bytes. */
  readonly contentLength: number | undefined;
  /** Upgrade of a 101. */
  readonly upgrade: string | undefined;
  /** As in RequestHead. */
  readonly connectionOptions: readonly string[];
  /** Undefined: it comes for the first time on its connection. */
  onward?: Onward | undefined;
}
