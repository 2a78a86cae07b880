import { errorCatalogue } from '#policies/errors/catalogue.ts';
import { STATUS_CODES } from '#runtime/node-http.ts';
import type { Refusal } from './fault.ts';
import { encodeResponseHead, pushHeader } from './head-encoder.ts';

/** How an error answer differs from the plain one that closes its connection. */
export interface ErrorResponseOptions {
  /** The request was HEAD: no body. */
  readonly headRequest?: boolean;
  /** The request was digested whole, so the connection may go on. Never after a Refusal of a decoder. */
  readonly keepAlive?: boolean;
  /** Further headers, flat: `['selvedge-reached', 'no']`. */
  readonly headers?: readonly string[];
}

/**
 * A whole answer to a request that is not served: RFC 9457 problem details in the form of runtime/problem.ts, and by default the end of
 * the connection. Small, and holds no byte of the request.
 *
 * @param decisionId by which the decision is found in log and audit; also sent as the header `selvedge-decision`
 */
export function encodeError(refusal: Refusal, decisionId?: string, options: ErrorResponseOptions = {}): Buffer {
  const body = errorBody(refusal, decisionId);
  const headers = errorHeaders(decisionId, options.headers);
  const head = encodeResponseHead(
    refusal.status,
    STATUS_CODES[refusal.status] ?? 'Error',
    headers,
    { kind: 'length', bytes: body.length },
    options.keepAlive === true ? undefined : 'close',
  );
  const headBytes = Buffer.from(head, 'latin1');
  return options.headRequest === true ? headBytes : Buffer.concat([headBytes, body]);
}

/** RFC 9457 problem details in the form of runtime/problem.ts. */
export function errorBody(refusal: Refusal, decisionId?: string): Buffer {
  const { title, fix } = errorCatalogue[refusal.code];
  const problem = {
    type: `urn:selvedge:error:${refusal.code}`,
    title,
    status: refusal.status,
    detail: refusal.reason,
    code: refusal.code,
    fix,
    ...(decisionId === undefined ? {} : { context: { decision: decisionId } }),
  };
  return Buffer.from(`${JSON.stringify(problem)}\n`, 'utf8');
}

/** The headers that stand before that body, and `more`, flat. */
export function errorHeaders(decisionId: string | undefined, more: readonly string[] = []): string[] {
  const headers = [
    'Content-Type',
    'application/problem+json',
    'X-Content-Type-Options',
    'nosniff',
    'Cache-Control',
    'no-store',
  ];
  if (decisionId !== undefined) pushHeader(headers, 'selvedge-decision', decisionId);
  for (let at = 0; at + 1 < more.length; at += 2) pushHeader(headers, more[at] ?? '', more[at + 1] ?? '');
  return headers;
}
