import { hostname } from 'node:os';
import { parseDnsNameRule } from '#identity/dns-name-rule.ts';
import { svidTtlBounds } from '#identity/identity-config.ts';
import { parseServiceName } from '#policies/service-name.ts';
import type { Option, OptionSet } from '#runtime/configuration.ts';
import { logLevels } from '#runtime/logging.ts';
import { durationMs, durationWithin, oneOf, text } from '#runtime/option-kinds.ts';
import { parseRootPin } from '#runtime/svid/root-pin.ts';

/** Options that several processes have, declared once. */

export const config: Option<string> = {
  parse: text,
  placeholder: 'file',
  description: 'YAML file with any of these options (keys as the flags, without dashes)',
};
export const logLevel = {
  parse: oneOf(...logLevels),
  placeholder: 'level',
  default: 'info',
  description: `one of ${logLevels.join(', ')}`,
} as const;
export const nodeName = {
  parse: parseServiceName,
  placeholder: 'name',
  default:
    hostname()
      .replace(/[^A-Za-z0-9._-]/g, '-')
      .slice(0, 128) || 'node',
  description: 'name of this host in the catalog',
} as const;
export const datacenter = {
  parse: parseServiceName,
  placeholder: 'name',
  default: 'dc1',
  description: 'datacenter: part of every SPIFFE ID',
} as const;
/** Also of `vault-setup`. */
export const trustDomain = {
  parse: text,
  placeholder: 'domain',
  default: 'mesh.internal',
  description: 'SPIFFE trust domain: the root of every identity; it does not change later',
} as const;
export const defaultIntentionPolicy = {
  parse: oneOf('deny', 'allow'),
  placeholder: 'policy',
  default: 'deny',
  description: 'what holds where no intention does',
} as const;
export const svidTtl = {
  parse: durationWithin(svidTtlBounds.floor * 1_000, svidTtlBounds.ceiling * 1_000, '1m to 24h'),
  placeholder: 'duration',
  default: '4h',
  description: 'lifetime of an SVID, 1m to 24h; renewed at a third of it',
} as const;

/** What a process asks of identity for itself. */
export const askedSvidTtl = {
  parse: durationMs,
  placeholder: 'duration',
  description: "ask for this lifetime instead of the identity service's own",
} as const;

/** Checked here, so that a pin that is none is refused by its place; kept as it was given. */
function rootPin(value: string): string {
  parseRootPin(value);
  return value;
}

export const joining = {
  joinTokenFile: {
    parse: text,
    placeholder: 'file',
    description: 'file with the join token (selvedge identity join-token create); read at the first start only',
  },
  caFile: {
    parse: text,
    placeholder: 'file',
    description: 'PEM roots that must be behind the identity service: it is proven before the token is sent',
  },
  caPin: {
    parse: rootPin,
    placeholder: 'sha256:hex',
    description:
      'pin of the root key instead of --ca-file, or of the one root in it that is meant; the identity service prints it at start',
  },
} as const satisfies OptionSet;

/** For what signs SVIDs, and for what prepares Vault to do so. */
export const svidDnsName = {
  parse: parseDnsNameRule,
  placeholder: 'service=name',
  repeatable: true,
  description:
    'DNS name that may stand in the SVIDs of a service, where it asks: web=web.example.com, or {service}.service.consul for all',
} as const;

export const auditSync = {
  parse: oneOf('on', 'off'),
  placeholder: 'on|off',
  default: 'on',
  description:
    'an act is answered when its line of the audit log is on the disk; off: when the operating system has it, so a power cut may take the last seconds',
} as const;
