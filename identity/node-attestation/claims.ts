import { MeshError } from '#policies/errors/mesh-error.ts';

/**
 * What a node has proven about itself: the claims of a JWT, what Vault says of a token, the fields of a certificate. A tree, as JSON has it; nothing of it has
 * been looked at except by whom it is vouched for.
 */
export type Claims = Readonly<Record<string, unknown>>;

/** Where a claim stands: `kubernetes.io/pod/name` is three members deep. A member whose name has odd characters is quoted: `"https://a.test/role"/name`. */
export interface ClaimPath {
  /** As written. */
  readonly text: string;
  readonly members: readonly string[];
}

const maxPathLength = 256;
const maxMembers = 8;
const member = /(?:"([^"\u0000-\u001f\u007f]{1,200})"|([A-Za-z0-9_.:@-]+))/y;

/**
 * Reads the path of a claim.
 * @throws MeshError SLV-1002 that says at which character it goes wrong
 */
export function parseClaimPath(text: string): ClaimPath {
  if (text.length > maxPathLength) throw malformed(`a claim has at most ${maxPathLength} characters`, maxPathLength);
  const members: string[] = [];
  for (let at = 0; ; at++) {
    member.lastIndex = at;
    const found = member.exec(text);
    if (found === null) throw malformed('the name of a claim is expected, as in sub or kubernetes.io/pod/name', at);
    members.push(found[1] ?? found[2] ?? '');
    if (members.length > maxMembers) throw malformed(`a claim is at most ${maxMembers} deep`, at);
    at = member.lastIndex;
    if (at === text.length) return { text, members };
    if (text[at] !== '/') throw malformed('between the members of a claim stands /', at);
  }
}

/** What stands there, or undefined. A list stays a list; what is inherited is not there. */
export function claimAt(claims: Claims, path: ClaimPath): unknown {
  let value: unknown = claims;
  for (const name of path.members) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) {
      return undefined;
    }
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

function malformed(what: string, at: number): MeshError {
  return new MeshError('SLV-1002', `character ${at + 1}: ${what}`, { detail: { at } });
}
