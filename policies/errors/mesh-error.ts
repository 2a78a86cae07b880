import { type ErrorCode, type ErrorEntry, errorCatalogue } from './catalogue.ts';

/** Facts that belong to one occurrence of an error: names, counts, limits. Never a secret, never a stack. */
export type ErrorDetail = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/**
 * The one error type of Selvedge. Everything that a user, a log or another process may see of a failure is in it:
 * a stable code from the catalogue, one sentence on what happened here, and what to do about it.
 */
export class MeshError extends Error {
  /** Stable code, `SLV-nnnn`: listed in docs/errors.md. */
  readonly code: ErrorCode;
  /** What this occurrence was about. */
  readonly detail: ErrorDetail;

  /**
   * @param code    from the catalogue
   * @param message one sentence: what happened here, with the names that matter
   * @param options `detail` for machines, `cause` for the log of the process that saw it (never sent on)
   */
  constructor(code: ErrorCode, message: string, options: { detail?: ErrorDetail; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'MeshError';
    this.code = code;
    this.detail = options.detail ?? {};
  }

  /** The catalogue's entry for this code: HTTP status, title, what to do. */
  get entry(): ErrorEntry {
    return errorCatalogue[this.code];
  }
}

/** Narrows to a MeshError of one code, for the few places that react to a certain failure. */
export function isMeshError(error: unknown, code?: ErrorCode): error is MeshError {
  return error instanceof MeshError && (code === undefined || error.code === code);
}
