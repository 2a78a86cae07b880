/** Bounds of one HTTP/1.1 message. Sizes in bytes. */
export interface Http1Limits {
  /** Start line and headers with all line ends, up to and with the empty line. */
  readonly maxHeadBytes: number;
  readonly maxHeaders: number;
  readonly maxTargetBytes: number;
  readonly maxMethodBytes: number;
  /** Chunk extensions of one message together; they are dropped. */
  readonly maxChunkExtensionBytes: number;
  /** Trailers of one message together; they are checked and dropped. */
  readonly maxTrailerBytes: number;
  /** Interim answers (1xx) before the final one. */
  readonly maxInformational: number;
  /**
   * Take header names with `_`. Off for requests, as CGI-like applications read `_` and `-` alike (CVE-2024-10006), but where somebody behind the decoder judges them
   * (edge-proxy/normalised-request.ts).
   */
  readonly allowUnderscores: boolean;
  /** Take TRACE, which hands headers back that scripts may not read. */
  readonly allowTrace: boolean;
  /** Take CONNECT with `host:port` (RFC 9110 9.3.6): a proxy that the caller knows of. */
  readonly allowConnect: boolean;
}

/** For what comes from callers. */
export const requestLimits: Http1Limits = {
  maxHeadBytes: 32_768,
  maxHeaders: 100,
  maxTargetBytes: 8_192,
  maxMethodBytes: 32,
  maxChunkExtensionBytes: 4_096,
  maxTrailerBytes: 8_192,
  maxInformational: 16,
  allowUnderscores: false,
  allowTrace: false,
  allowConnect: false,
};

/**
 * For what applications answer. They are not out to fool anyone's rules, so underscores pass; and it is their size that is bounded, in bytes (Envoy: 60 KiB, nginx 4 or
 * 8), the number of fields only where no honest answer comes (nginx: 1,000).
 */
export const responseLimits: Http1Limits = {
  ...requestLimits,
  maxHeadBytes: 65_536,
  maxHeaders: 1_000,
  allowUnderscores: true,
};
