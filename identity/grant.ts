import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { identityServiceName } from '#runtime/svid/open-bundle.ts';

/** Services of the control plane. A wildcard that was meant for applications does not reach them. */
const reservedPrefix = 'selvedge-';

/**
 * Whether one pattern of a grant (exact, `*`, or a prefix with one trailing `*`: grantPatternSchema) gives a service. Names of the control plane are
 * given only by a pattern that itself begins with `selvedge-`, and `selvedge-identity` by none: whoever held its SVID could sign trust bundles.
 */
export function patternGrants(pattern: string, service: string): boolean {
  if (service === identityServiceName) return false;
  if (service.startsWith(reservedPrefix) && !pattern.startsWith(reservedPrefix)) return false;
  return pattern.endsWith('*') ? service.startsWith(pattern.slice(0, -1)) : pattern === service;
}

/** Whether a node's grant holds a service. */
export function grants(patterns: readonly string[], service: string): boolean {
  return patterns.some((pattern) => patternGrants(pattern, service));
}

/** @throws MeshError SLV-2120 when a pattern of a new grant could never give anything */
export function requireGrantable(patterns: readonly string[]): void {
  if (patterns.includes(identityServiceName)) {
    throw new MeshError(
      'SLV-2120',
      `${quote(identityServiceName)} can not be granted: its SVID signs the trust bundle.`,
    );
  }
}
