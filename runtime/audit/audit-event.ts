/**
 * What an audit log records, and what a service asks of it. Each process has one log and its own union of events; the log adds those about itself.
 */

/** A value in a line: flat, so that a line can be searched by field. Never a token, a key or a CSR; hashes of them. */
export type AuditFact = string | number | boolean | readonly string[] | undefined;

/** What every event has. A service's own events are a union of `type`s of this shape. */
export type AuditEvent = { readonly event: string; readonly [fact: string]: AuditFact };

/** What the log says about itself, in its own chain. */
export type AuditLogEvent =
  /** A crash had left a half-written line, which was cut off. Its event was never acknowledged. */
  | { readonly event: 'log-repaired'; readonly tornBytes: number }
  /** The file was renamed or removed, and a new one begun; the chain goes on from the last line of the old one. */
  | { readonly event: 'log-continued'; readonly after: number }
  /** Somebody cut the file off while it was written (logrotate's copytruncate, or worse): what it held may be lost. */
  | { readonly event: 'log-truncated'; readonly bytesBefore: number; readonly bytesFound: number }
  /** The file could not be written from `since` on. The `kept` events of acts answered with SLV-2150 follow, marked `late`; `lost` more were too many. */
  | {
      readonly event: 'log-resumed';
      readonly since: string;
      readonly reason: string;
      readonly kept: number;
      readonly lost: number;
    };

/** Where the acts of a process are recorded. */
export interface AuditLog<Event extends AuditEvent> {
  /**
   * Resolves when the line is written (and synced, where asked for); then, and only then, may the act be acknowledged.
   * @throws MeshError SLV-2150 when it can't be: what can't be recorded must not be done, or at least not be handed out
   */
  append(event: Event): Promise<void>;
  /**
   * Resolves unless the log is known not to be writable; then it tries. To be asked before an act that can't be undone.
   * @throws MeshError SLV-2150
   */
  ready(): Promise<void>;
  /** From a write that failed until one succeeds: since when, and why. */
  readonly failure: { readonly sinceMs: number; readonly reason: string } | undefined;
  close(): Promise<void>;
}
