import { z } from 'zod';
import { type EntryKind, type KeptEntry, parseConfigEntry } from '#policies/config-entries/config-entry.ts';
import { fieldsWithoutEffect } from '#policies/config-entries/without-effect.ts';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { ServiceClient } from '../service-client.ts';
import type { ConsulSource } from './consul-source.ts';
import type { ImportReport } from './import-report.ts';

/** In the order in which one may need the other: what says protocols before what needs them, subsets before what leads to them. */
const kinds: readonly EntryKind[] = [
  'proxy-defaults',
  'service-defaults',
  'jwt-provider',
  'mesh',
  'exported-services',
  'service-resolver',
  'service-splitter',
  'service-router',
];
/** Those that have no place here. */
const foreignKinds = [
  'ingress-gateway',
  'terminating-gateway',
  'api-gateway',
  'http-route',
  'tcp-route',
  'bound-api-gateway',
  'inline-certificate',
  'file-system-certificate',
  'sameness-group',
  'control-plane-request-limit',
];

const listSchema = z.array(z.looseObject({ Name: z.string().optional() })).nullable();
const partSchema = z.record(z.string(), z.unknown());

/** Takes over config entries, but for service-intentions. @param apply without it, nothing is written */
export async function importConfigEntries(
  source: ConsulSource,
  target: ServiceClient,
  apply: boolean,
  report: ImportReport,
): Promise<void> {
  const [datacenter] = await target.json('GET', '/v1/catalog/datacenters', z.array(z.string()));
  for (const kind of kinds) {
    for (const entry of await entriesOf(source, kind, report)) {
      const name = kind === 'mesh' ? 'mesh' : (entry.Name ?? '');
      const what = `${kind} ${name}`;
      const parsed = parse(kind, entry);
      if (typeof parsed === 'string') {
        report.left(what, parsed);
        continue;
      }
      const fate = await fateOf(target, kind, name, parsed);
      if (fate !== 'same' && apply) {
        const answer = await target.attempt('PUT', '/v1/config', parsed);
        if (answer.status >= 400) {
          report.left(what, answer.body.toString('utf8').slice(0, 300).trim());
          continue;
        }
      }
      report.add(what, fate);
      const idle = fieldsWithoutEffect(parsed, datacenter);
      if (idle.length > 0) report.note(`${what}: the proxies do not act on ${idle.slice(0, 16).join(', ')}`);
    }
  }
  for (const kind of foreignKinds) {
    for (const { Name } of await entriesOf(source, kind))
      report.left(`${kind} ${Name ?? ''}`, 'this kind is not offered');
  }
}

/** @param report undefined: a kind that the source does not know, or does not show, is none */
async function entriesOf(
  source: ConsulSource,
  kind: string,
  report?: ImportReport,
): Promise<z.infer<typeof listSchema> & object> {
  const answer = await source.attempt(`/v1/config/${kind}`);
  if ('json' in answer) return listSchema.parse(answer.json) ?? [];
  // An older Consul does not know the newer kinds.
  if (report !== undefined && !/invalid config entry kind/i.test(answer.text)) {
    report.left(`${kind} (all)`, `the source answered ${answer.status}: ${answer.text}`);
  }
  return [];
}

function parse(kind: EntryKind, entry: object): KeptEntry | string {
  try {
    return parseConfigEntry(kind, entry);
  } catch (error) {
    if (error instanceof ConsulError || isMeshError(error)) return error.message;
    throw error;
  }
}

async function fateOf(target: ServiceClient, kind: EntryKind, name: string, entry: KeptEntry) {
  const answer = await target.attempt('GET', `/v1/config/${kind}/${encodeURIComponent(name)}`);
  if (answer.status === 404) return 'new';
  const held = partSchema.parse(JSON.parse(answer.body.toString('utf8')));
  const here = parse(kind, kind === 'mesh' ? { ...held, Kind: kind } : held);
  return JSON.stringify(here) === JSON.stringify(entry) ? 'same' : 'changed';
}
