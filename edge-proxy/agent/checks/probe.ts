import type { CheckStatus } from '#policies/consul/check-status.ts';

/** What one probe found. */
export interface ProbeResult {
  readonly status: CheckStatus;
  /** One text for people. */
  readonly output: string;
}

/**
 * Looks once how something is. When the signal aborts it lets go of all that it holds and settles, with its abort reason or with a result. Rejects, with a
 * message for people, when it could not find out: that is critical.
 */
export type Probe = (signal: AbortSignal) => Promise<ProbeResult>;

/** What every probe is bounded by. */
export interface ProbeLimits {
  readonly timeoutMs: number;
  /** Of the output that is kept; no more than this is read of an answer, or kept of what a script prints. */
  readonly maxOutputBytes: number;
}

/** How TLS is spoken to a target. */
export interface ProbeTls {
  /** For SNI and the name in the certificate; '' is the host itself. */
  readonly serverName: string;
  readonly skipVerify: boolean;
}

/** The text of an error for people. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Node joins the failures of several addresses without a message of its own.
  const { message } = error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : error;
  return message;
}

/** At most `maxBytes` of UTF-8, not cut within a character. */
export function clip(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= maxBytes) return bytes.toString();
  return new TextDecoder().decode(bytes.subarray(0, maxBytes), { stream: true });
}
