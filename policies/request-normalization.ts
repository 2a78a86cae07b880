/**
 * What a service lets pass of requests that are refused unless somebody says otherwise, in the words of Consul and Envoy. What is judged is what is forwarded, whatever
 * they say: an encoded slash that stays is judged in every reading (path-readings.ts), and so is a name with an underscore (header-rule.ts).
 */

/** What becomes of a path with an encoded slash or backslash (Consul: PathWithEscapedSlashesAction). */
export type EscapedSlashesAction =
  | 'REJECT_REQUEST'
  | 'KEEP_UNCHANGED'
  | 'UNESCAPE_AND_REDIRECT'
  | 'UNESCAPE_AND_FORWARD';

/** What becomes of a request with an underscore in the name of a header (Consul: HeadersWithUnderscoresAction). */
export type UnderscoresAction = 'REJECT_REQUEST' | 'DROP_HEADER' | 'ALLOW';

/** The words of one service. */
export interface RequestNormalization {
  readonly escapedSlashes: EscapedSlashesAction;
  readonly underscores: UnderscoresAction;
}

/** Where nobody says anything. */
export const strictNormalization: RequestNormalization = {
  escapedSlashes: 'REJECT_REQUEST',
  underscores: 'REJECT_REQUEST',
};
