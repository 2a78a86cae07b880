import { hasEncodedSlash } from '#policies/canonical-request.ts';
import type { KeptEntry } from '#policies/config-entries/config-entry.ts';
import { protocolSaid } from '#policies/config-entries/service-defaults.ts';
import { fieldsWithoutEffect, redirectsElsewhere } from '#policies/config-entries/without-effect.ts';
import type { Written } from '../intentions/plan.ts';
import { protocolWarning } from '../intentions/warning.ts';
import { keysOf, remoteFlaw } from '../jwt/providers.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import { unchanged, type WritePlan } from '../state/catalog-writer.ts';
import { encode } from '../state/indexed.ts';
import { keyOf } from '../state/keys.ts';

/** Plans an entry of a kind that is kept as it comes. The writer is told what of it has no effect, and whom a new protocol shuts out. */
export function planConfigEntry(state: CatalogState, record: KeptEntry, datacenter: string): WritePlan<Written> {
  const { Kind, Name } = record;
  const key = keyOf('config', Kind, Name);
  const before = state.config.get(Kind, Name);
  const same = before !== undefined && JSON.stringify(before.record) === JSON.stringify(record);
  const warnings = [
    protocolWarningOf(state, record),
    effectWarning(record, datacenter),
    redirectWarning(record, datacenter),
    rewriteWarning(state, record),
    keysWarning(state, record),
  ].filter((one) => one !== undefined);
  return {
    compare: [unchanged(key, before?.modifyIndex)],
    operations: same ? [] : [{ kind: 'put', key, value: encode(record) }],
    result: { warnings },
  };
}

/** A service that becomes tcp stops answering whom its permissions let in. */
function protocolWarningOf(state: CatalogState, record: KeptEntry): string | undefined {
  if (record.Kind !== 'service-defaults' || protocolSaid(record.Protocol) !== 'tcp') return undefined;
  return protocolWarning({ protocolOf: () => 'tcp' }, record.Name, state.intentions.ofDestination(record.Name));
}

/** Without keys, all that asks for tokens of the provider is refused. */
function keysWarning(state: CatalogState, record: KeptEntry): string | undefined {
  if (record.Kind !== 'jwt-provider') return undefined;
  const uri = record.JSONWebKeySet?.Remote?.URI;
  if (uri !== undefined && remoteFlaw(uri) === undefined) return undefined; // is fetched soon
  const keys = keysOf(state, record);
  return 'flaw' in keys ? `tokens of ${record.Name} are refused: ${keys.flaw}` : undefined;
}

function effectWarning(record: KeptEntry, datacenter: string): string | undefined {
  const fields = fieldsWithoutEffect(record, datacenter);
  // Keys of Config are the writer's own text, and this becomes a header.
  const shown = fields.filter((field) => /^[\x21-\x7e]{1,128}$/.test(field)).slice(0, 16);
  if (fields.length === 0) return undefined;
  const more = fields.length === shown.length ? [] : [`${fields.length - shown.length} more`];
  return `${record.Kind} ${record.Name} is stored; the proxies do not act on ${[...shown, ...more].join(', ')}`;
}

/** What the service does not take is refused where a route has made it, too. */
function rewriteWarning(state: CatalogState, record: KeptEntry): string | undefined {
  if (record.Kind !== 'service-router') return undefined;
  if (state.normalizationOf(record.Name).escapedSlashes !== 'REJECT_REQUEST') return undefined;
  const at = (record.Routes ?? []).findIndex(({ Destination }) => hasEncodedSlash(Destination?.PrefixRewrite ?? ''));
  if (at < 0) return undefined;
  return `every request of Route[${at}] is refused (SLV-4011) for the encoded slash of its PrefixRewrite, until PathWithEscapedSlashesAction of service-defaults ${record.Name} is KEEP_UNCHANGED`;
}

/** A failover to nowhere is passed over; a redirect has nothing behind it. */
function redirectWarning(record: KeptEntry, datacenter: string): string | undefined {
  if (record.Kind !== 'service-resolver' || !redirectsElsewhere(record, datacenter)) return undefined;
  return `every call of ${record.Name} is refused (SLV-4002): nobody is known where it redirects to`;
}
