import { z } from 'zod';
import {
  entryFields,
  entryObject,
  flag,
  invalidEntry,
  judgeEntryMeta,
  judgeOnlyName,
  oneOf,
  shownWhenEmpty,
  text,
} from './entry-object.ts';
import { proxyFields } from './proxy-settings.ts';
import { protocol } from './service-defaults.ts';
import { isFailoverMode, judgePrioritizeByLocality } from './service-resolver.ts';

const accessLogsSchema = entryObject({
  Enabled: flag,
  DisableListenerLogs: flag,
  Type: oneOf(['stdout', 'stderr', 'file']),
  Path: text,
  JSONFormat: text,
  TextFormat: text,
});

/** Settings of all proxies: the one entry `global`. */
export const proxyDefaultsSchema = entryObject({
  ...entryFields('proxy-defaults'),
  Name: z.string().max(256).default(''),
  /** For the proxies, as it comes; of it `protocol` is looked at. */
  Config: z.record(z.string().max(256), z.unknown()).nullable().default(null),
  ...proxyFields,
  AccessLogs: shownWhenEmpty(accessLogsSchema),
  FailoverPolicy: entryObject({
    Mode: text,
    Regions: z.array(z.string().max(256)).max(64).exactOptional(),
  }).exactOptional(),
  PrioritizeByLocality: entryObject({ Mode: text }).exactOptional(),
}).transform((entry) => ({ ...entry, Name: entry.Name === '' ? 'global' : entry.Name }));
export type ProxyDefaults = z.output<typeof proxyDefaultsSchema>;

/** @throws ConsulError 400 in Consul's words */
export function judgeProxyDefaults(entry: ProxyDefaults): void {
  judgeOnlyName(entry.Name, 'global');
  const { Type, Path, JSONFormat, TextFormat } = entry.AccessLogs;
  if (Type === 'file' && Path === undefined)
    throw invalidEntry('path must be specified when using file type access logs');
  if (Type !== 'file' && Path !== undefined) throw invalidEntry('path is only valid for file type access logs');
  if (JSONFormat !== undefined && TextFormat !== undefined) {
    throw invalidEntry('cannot specify both access log JSONFormat and TextFormat');
  }
  if (JSONFormat !== undefined && !isJson(JSONFormat)) throw invalidEntry('invalid access log json');
  judgeEntryMeta(entry.Meta);
  const said = protocol.safeParse(entry.Config?.['protocol'] ?? '');
  if (!said.success) throw invalidEntry(`Config: protocol: ${said.error.issues[0]?.message ?? 'not valid'}`);
  if (!isFailoverMode(entry.FailoverPolicy?.Mode)) {
    throw invalidEntry("Failover policy must be one of '', 'sequential', or 'order-by-locality'");
  }
  judgePrioritizeByLocality(entry.PrioritizeByLocality?.Mode);
}

/** The protocol of services that say none themselves; empty: tcp. */
export function protocolOfAll(entry: ProxyDefaults | undefined): string {
  return protocol.safeParse(entry?.Config?.['protocol'] ?? '').data ?? '';
}

function isJson(given: string): boolean {
  try {
    JSON.parse(given);
    return true;
  } catch {
    return false; // that is the answer
  }
}
