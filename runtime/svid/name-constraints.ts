import { contextTag, derTag, latin1, openDer } from '#policies/der.ts';
import type { LeafFacts } from '#policies/svid-leaf.ts';

/** What a signer's nameConstraints (RFC 5280 4.2.1.10) say of URIs, and whether they speak of other forms of names. */
export interface NameConstraints {
  /** Hosts, or `.suffix` of hosts; undefined: any. */
  readonly permittedHosts: readonly string[] | undefined;
  readonly excludedHosts: readonly string[];
  /** True when names other than URIs are constrained, which is not evaluated here. */
  readonly otherForms: boolean;
}

const maxSubtrees = 64;
const uriForm = contextTag(6);

/** @throws MeshError SLV-5007 */
export function readNameConstraints(value: Uint8Array): NameConstraints {
  const constraints = openDer(value);
  const permitted = readSubtrees(constraints.enterOptional(contextTag(0, true)));
  const excluded = readSubtrees(constraints.enterOptional(contextTag(1, true)));
  constraints.finish();
  return {
    permittedHosts: permitted.hosts.length > 0 ? permitted.hosts : undefined,
    excludedHosts: excluded.hosts,
    otherForms: permitted.otherForms || excluded.otherForms,
  };
}

function readSubtrees(subtrees: ReturnType<typeof openDer> | undefined): { hosts: string[]; otherForms: boolean } {
  const hosts: string[] = [];
  let otherForms = false;
  while (subtrees !== undefined && !subtrees.atEnd) {
    const base = subtrees.enter(derTag.sequence).readAny();
    // What is beyond the bound, or of a form that is not evaluated, makes the whole unusable rather than unconstrained.
    if (base.tag === uriForm && hosts.length < maxSubtrees) hosts.push(latin1(base.content).toLowerCase());
    else otherForms = true;
  }
  return { hosts, otherForms };
}

/**
 * Whether a certificate below the signer keeps to its constraints. Where constraints speak of forms of names that are not evaluated here, only a
 * certificate that has no such name passes.
 */
export function satisfiesNameConstraints(constraints: NameConstraints, facts: LeafFacts): boolean {
  if (constraints.otherForms && (facts.dnsSans.length > 0 || facts.otherSanCount > 0 || !facts.subjectEmpty))
    return false;
  return facts.uriSans.every((uri) => {
    const host = /^[a-z][a-z0-9+.-]*:\/\/([a-z0-9._-]+)(?:\/|$)/.exec(uri)?.[1];
    if (host === undefined) return false;
    if (constraints.excludedHosts.some((constraint) => isWithin(host, constraint))) return false;
    return constraints.permittedHosts?.some((constraint) => isWithin(host, constraint)) ?? true;
  });
}

/** "When the constraint begins with a period, it MAY be expanded with one or more labels; otherwise it specifies a host." */
function isWithin(host: string, constraint: string): boolean {
  return constraint.startsWith('.')
    ? host.endsWith(constraint) && host.length > constraint.length
    : host === constraint;
}
