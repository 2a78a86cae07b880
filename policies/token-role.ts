import { MeshError } from './errors/mesh-error.ts';
import { quote } from './quote.ts';
import { isServiceName, maxServiceNameBytes } from './service-name.ts';

/** Services by name: one, those whose name begins alike (`billing-*`), or all (`*`). */
export type NamePattern = { readonly exact: string } | { readonly prefix: string };

/**
 * What a token of the catalog lets its holder do. As text, which is how it is stored, asked for and shown:
 *
 *     operator               everything
 *     reader                 reads everything but the KV, tokens and backups
 *     intentions:PATTERN     writes the intentions of these destinations
 *     service:PATTERN        registers these services
 */
export type TokenRole =
  | { readonly kind: 'operator' }
  | { readonly kind: 'reader' }
  | { readonly kind: 'intentions'; readonly destinations: NamePattern }
  | { readonly kind: 'service'; readonly services: NamePattern };

/** Services of the control plane: a workload of that very name registers them, or an operator, never a pattern. */
export const reservedServicePrefix = 'selvedge-';

/** Longest text of a role. */
export const maxRoleLength = 'intentions:'.length + maxServiceNameBytes;

/** @throws MeshError SLV-3009 */
export function parseTokenRole(text: string): TokenRole {
  const role = readTokenRole(text);
  if (role !== undefined) return role;
  throw new MeshError('SLV-3009', `${quote(text)} is no role of a token.`);
}

/** As parseTokenRole; undefined for what is no role. */
export function readTokenRole(text: string): TokenRole | undefined {
  if (text === 'operator' || text === 'reader') return { kind: text };
  if (text.length > maxRoleLength) return undefined;
  const [, kind, name = ''] = /^(intentions|service):(.*)$/s.exec(text) ?? [];
  const pattern = kind === undefined ? undefined : readPattern(name);
  if (pattern === undefined) return undefined;
  if (kind === 'intentions') return { kind, destinations: pattern };
  const named = 'exact' in pattern ? pattern.exact : pattern.prefix;
  return named.startsWith(reservedServicePrefix) ? undefined : { kind: 'service', services: pattern };
}

/** @returns the text of which parseTokenRole makes the same role */
export function formatTokenRole(role: TokenRole): string {
  switch (role.kind) {
    case 'operator':
    case 'reader':
      return role.kind;
    case 'intentions':
      return `intentions:${formatPattern(role.destinations)}`;
    case 'service':
      return `service:${formatPattern(role.services)}`;
  }
}

/**
 * Whether a pattern holds the name of one service. `*` as the *name* is the wildcard destination of an intention, which stands for every service there is:
 * no pattern holds it, not even `*`.
 */
export function patternHolds(pattern: NamePattern, name: string): boolean {
  if (!isServiceName(name)) return false;
  return 'exact' in pattern ? name === pattern.exact : name.startsWith(pattern.prefix);
}

function readPattern(text: string): NamePattern | undefined {
  if (text === '*') return { prefix: '' };
  if (!text.endsWith('*')) return isServiceName(text) ? { exact: text } : undefined;
  const prefix = text.slice(0, -1);
  // A name may begin so, even where it may not end so: `billing-`.
  return isServiceName(`${prefix}0`) ? { prefix } : undefined;
}

function formatPattern(pattern: NamePattern): string {
  return 'exact' in pattern ? pattern.exact : `${pattern.prefix}*`;
}
