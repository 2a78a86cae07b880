/**
 * The model of intentions: who may call whom, in Consul's words. Parsing and validation: intention-form.ts;
 * the decision: intention-decision.ts. Field names are ours (camelCase); Consul's PascalCase is made at the API.
 */

/** What a rule says. */
export type IntentionAction = 'allow' | 'deny';

/** One header condition; exactly one of the matchers is set. Consul: `HTTP.Header[]`. */
export interface HeaderMatch {
  readonly name: string;
  readonly present?: true;
  readonly exact?: string;
  readonly prefix?: string;
  readonly suffix?: string;
  readonly contains?: string;
  /** RE2 syntax, matched against the whole value. */
  readonly regex?: string;
  readonly invert?: boolean;
  readonly ignoreCase?: boolean;
}

/** The HTTP condition of a permission: path and every header and one of the methods must match. */
export interface HttpMatch {
  readonly pathExact?: string;
  readonly pathPrefix?: string;
  /** RE2 syntax, matched against the whole path without query. */
  readonly pathRegex?: string;
  readonly headers?: readonly HeaderMatch[];
  /** Upper case. Absent or empty: any method. */
  readonly methods?: readonly string[];
}

/** A claim that a token must make: the value at a path of nested objects is this text, or a list that has it. Consul: `VerifyClaims[]`. */
export interface ClaimMatch {
  readonly path: readonly string[];
  readonly value: string;
}

/** A token of a provider (`jwt-provider` config entry), with claims. */
export interface TokenMatch {
  readonly name: string;
  readonly verifyClaims?: readonly ClaimMatch[];
}

/** A JSON Web Token that a request must carry, of any of the providers. Consul: `JWT`. */
export interface JwtRequirement {
  readonly providers: readonly TokenMatch[];
}

/** One L7 rule. Rules are tried in order, the first that matches decides (Consul). */
export interface Permission {
  readonly action: IntentionAction;
  readonly http: HttpMatch;
  /** Of requests that match, those with such a token. */
  readonly jwt?: JwtRequirement;
}

/**
 * From one source to one destination. Exactly one of `action` (L4) and `permissions` (L7) is set.
 * `source` and `destination` are service names or `*`.
 */
export interface Intention {
  readonly source: string;
  readonly destination: string;
  readonly action?: IntentionAction;
  readonly permissions?: readonly Permission[];
  readonly description?: string;
  /** What it would deny it lets through and counts. Absent: it is enforced. */
  readonly observe?: true;
  /** From then on it has no effect, ms since the epoch. Absent: it stays. */
  readonly expiresAtMs?: number;
  readonly meta?: Readonly<Record<string, string>>;
  /** Asked of every request to the destination: of all its intentions the same (Consul keeps it at the entry). */
  readonly jwt?: JwtRequirement;
  /** Consul's precedence, computed: 9 name to name, 8 `*` to name, 6 name to `*`, 5 `*` to `*`. */
  readonly precedence: number;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** Store revisions (Consul's CreateIndex, ModifyIndex). */
  readonly createIndex: number;
  readonly modifyIndex: number;
}

/** Application protocol of a service, from service-defaults. http2 and grpc come with a later issue. */
export type ServiceProtocol = 'tcp' | 'http' | 'http2' | 'grpc';
