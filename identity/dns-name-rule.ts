import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import { parseServiceName } from '#policies/service-name.ts';

/**
 * A DNS name that an operator lets into SVIDs, beside the SPIFFE ID: one name for one service, or one below a suffix for every service, named like it. No
 * peer of ours looks at DNS names; they are for clients that know a server by its host name.
 */
export type DnsNameRule =
  | { readonly kind: 'name'; readonly service: string; readonly name: string }
  | { readonly kind: 'per-service'; readonly suffix: string };

const placeholder = '{service}.';
/** RFC 1035 2.3.4. */
const maxNameLength = 253;

/**
 * Reads a rule: `web=web.example.com`, or `{service}.service.consul`.
 * @throws MeshError SLV-1002
 */
export function parseDnsNameRule(text: string): DnsNameRule {
  if (text.startsWith(placeholder)) {
    const suffix = text.slice(placeholder.length);
    if (!isHostName(suffix)) throw bad(text);
    return { kind: 'per-service', suffix };
  }
  const separator = text.indexOf('=');
  const name = text.slice(separator + 1);
  if (separator < 1 || !isHostName(name)) throw bad(text);
  return { kind: 'name', service: parseServiceName(text.slice(0, separator)), name };
}

/** A rule as it is written. */
export function formatDnsNameRule(rule: DnsNameRule): string {
  return rule.kind === 'name' ? `${rule.service}=${rule.name}` : `${placeholder}${rule.suffix}`;
}

/** Whether the SVID of a service may hold a name. Names are compared byte by byte: one in upper case is another. */
export function allowsDnsName(rules: readonly DnsNameRule[], service: string, name: string): boolean {
  return rules.some((rule) =>
    rule.kind === 'name'
      ? rule.service === service && rule.name === name
      : // A service `a.b` or `Web` would get the name that is a tag's, or another service's.
        isLabel(service) && name === `${service}.${rule.suffix}` && name.length <= maxNameLength,
  );
}

/** The rules as a role of Vault knows them (`allowed_domains` with `allow_glob_domains`). `*` crosses dots there, so it allows more than we do. */
export function vaultDomains(rules: readonly DnsNameRule[]): readonly string[] {
  return [...new Set(rules.map((rule) => (rule.kind === 'name' ? rule.name : `*.${rule.suffix}`)))];
}

/** Lower-case letters, digits, hyphens; no wildcard, and nothing that could be taken for an IP address. */
function isHostName(text: string): boolean {
  return text.length <= maxNameLength && text.split('.').every(isLabel) && !/(?:^|\.)\d+$/.test(text);
}

function isLabel(text: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

function bad(text: string): MeshError {
  return new MeshError(
    'SLV-1002',
    `${quote(text)} allows no DNS name; the form is web=web.example.com or {service}.service.consul, in lower case`,
  );
}
