import { type CanonicalTarget, canonicaliseTarget } from '#policies/canonical-request.ts';
import type { ErrorCode } from '#policies/errors/catalogue.ts';
import type { RequestNormalization } from '#policies/request-normalization.ts';
import type { RequestHead } from './http1/message.ts';
import { withHarmlessUnderscores, withoutUnderscores } from './http1/underscored-headers.ts';

/** A request in the form that is judged and forwarded. */
export interface PassedRequest {
  readonly ok: true;
  readonly head: RequestHead;
  readonly path: string;
  readonly query: string;
}

/** A request in the form that is judged and forwarded, or what is said to who sent it. */
export type NormalisedRequest =
  | PassedRequest
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      /** For the decision. */
      readonly rule: string;
      readonly reason: string;
      /** Of the answer, flat. */
      readonly headers: readonly string[];
    };

const asterisk: CanonicalTarget = { ok: true, path: '*', query: '' };
const noHeaders: readonly string[] = [];

/** Does to a request what its service says (policies/request-normalization.ts). Both proxies do it, each by its own copy of the catalog. */
export function normalise(head: RequestHead, words: RequestNormalization): NormalisedRequest {
  const passed = head.underscored ? withUnderscores(head, words) : head;
  if (passed === undefined) return underscore;
  const { escapedSlashes } = words;
  const target = head.target === '*' ? asterisk : canonicaliseTarget(head.target, escapedSlashes);
  if (!target.ok) return refused('SLV-4011', 'canonical path', target.reason);
  const { path, query } = target;
  if (target.unescaped !== true || escapedSlashes !== 'UNESCAPE_AND_REDIRECT') {
    return { ok: true, head: passed, path, query };
  }
  // gRPC follows no redirect.
  if (head.http2?.grpc === true) return refused('SLV-4011', 'canonical path', 'it has an encoded slash');
  // The path begins with one slash: it leads to no other host.
  return refused('SLV-4017', 'PathWithEscapedSlashesAction', 'encoded slashes of a path are to be slashes', [
    'Location',
    path + query,
  ]);
}

function withUnderscores(head: RequestHead, { underscores }: RequestNormalization): RequestHead | undefined {
  switch (underscores) {
    case 'REJECT_REQUEST':
      return undefined;
    case 'DROP_HEADER':
      return { ...head, headers: withoutUnderscores(head.headers) };
    case 'ALLOW':
      return { ...head, headers: withHarmlessUnderscores(head.headers) };
  }
}

function refused(code: ErrorCode, rule: string, reason: string, headers = noHeaders): NormalisedRequest {
  return { ok: false, code, rule, reason, headers };
}

const underscore = refused('SLV-4201', 'HeadersWithUnderscoresAction', 'a header name holds an underscore');
