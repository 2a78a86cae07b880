import { attestationErrors } from './attestation-errors.ts';
import { catalogErrors } from './catalog-errors.ts';
import { configurationErrors } from './configuration-errors.ts';
import { edgeProxyErrors } from './edge-proxy-errors.ts';
import { identityErrors } from './identity-errors.ts';
import { policyErrors } from './policy-errors.ts';
import { storeErrors } from './store-errors.ts';

/** One line of the error catalogue. */
export interface ErrorEntry {
  /** HTTP status with which the error is answered where it reaches an HTTP client. */
  readonly status: number;
  /** Short, constant title (RFC 9457 `title`). */
  readonly title: string;
  /** What the reader can do about it: one or two sentences, a command where there is one. */
  readonly fix: string;
}

/**
 * Every error that Selvedge can show, by stable code. A code is never reused or renumbered.
 * SLV-1nnn configuration and command line, 2nnn identity, 3nnn catalog, 35nn store, 4nnn edge proxy, 5nnn policies.
 */
export const errorCatalogue = {
  ...configurationErrors,
  ...identityErrors,
  ...attestationErrors,
  ...catalogErrors,
  ...storeErrors,
  ...edgeProxyErrors,
  ...policyErrors,
} as const satisfies Record<string, ErrorEntry>;

/** A stable error code, `SLV-nnnn`. */
export type ErrorCode = keyof typeof errorCatalogue;
