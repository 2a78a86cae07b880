import { z } from 'zod';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { JwtRequirement } from '#policies/intention.ts';
import type { IntentionFile } from '#policies/intention-file.ts';
import type { IntentionDraft } from '#policies/intention-form.ts';
import { formatMeshIntention } from '#policies/mesh-intention-form.ts';
import { parseServiceIntentions } from '#policies/service-intentions-form.ts';
import { importedSchema } from '../commands/intention-file.ts';
import type { ServiceClient } from '../service-client.ts';
import type { ConsulSource } from './consul-source.ts';
import type { ImportReport } from './import-report.ts';

const sourceSchema = z.looseObject({ Name: z.string().optional(), Peer: z.string().optional() });
const entrySchema = z.looseObject({ Name: z.string(), Sources: z.array(sourceSchema).nullish() });
const checkedSchema = z.looseObject({ Allowed: z.boolean() });

/** What an entry of the source says here. */
interface Taken {
  readonly destination: string;
  readonly drafts: readonly IntentionDraft[];
  readonly meta: Readonly<Record<string, string>> | undefined;
  readonly jwt: JwtRequirement | undefined;
}

/**
 * Takes over intentions, all at once, in the catalog's own import. An entry that is not understood whole is not taken at all: without it its destination is shut, by
 * the default; so that it is not opened by a wildcard either, allows to `*` are then left out too. Only sources of peers are dropped from an entry, for nobody
 * of another trust domain gets in here in any case.
 */
export async function importIntentions(
  source: ConsulSource,
  target: ServiceClient,
  apply: boolean,
  report: ImportReport,
): Promise<void> {
  const entries =
    z
      .array(entrySchema)
      .nullable()
      .parse(await source.get('/v1/config/service-intentions')) ?? [];
  const taken: Taken[] = [];
  let missing: string | undefined;
  for (const entry of entries) {
    const read = readEntry(entry, report);
    if (read === undefined) missing ??= entry.Name;
    else if (read.drafts.length > 0) taken.push(read);
  }
  const file = fileOf(missing === undefined ? taken : taken.map((one) => heldBack(one, missing, report)));
  await noteDefault(source, file, report);
  const path = `/v1/mesh/intentions/import?keep-modes&everywhere${apply ? '&apply' : ''}`;
  const { changes, meta, warnings } = await target.json('POST', path, importedSchema, file);
  const changed = new Set(changes.map((one) => `${one.source} -> ${one.destination}`));
  for (const { source: from, destination } of file.intentions) {
    const name = `${from} -> ${destination}`;
    const diff = changes.find((one) => one.source === from && one.destination === destination)?.diff ?? [];
    const replaces = diff.some((line) => line.startsWith('- '));
    report.add(`intention ${name}`, !changed.has(name) ? 'same' : replaces ? 'changed' : 'new');
  }
  for (const destination of meta) report.add(`Meta or JWT of intentions to ${destination}`, 'changed');
  for (const warning of warnings) report.note(warning);
}

function readEntry(entry: z.infer<typeof entrySchema>, report: ImportReport): Taken | undefined {
  const { Name: destination, Sources } = entry;
  const local = (Sources ?? []).filter(({ Peer }) => (Peer ?? '') === '');
  for (const { Name, Peer } of Sources ?? []) {
    if ((Peer ?? '') === '') continue;
    report.left(
      `intention ${Name ?? ''} of peer ${Peer} -> ${destination}`,
      'callers of another trust domain are denied here',
    );
  }
  if (local.length === 0) return { destination, drafts: [], meta: undefined, jwt: undefined };
  try {
    // Of the API before entries, kept for its clients.
    const sources = local.map(({ LegacyMeta, ...rest }) => rest);
    const { intentions } = parseServiceIntentions({ ...entry, Sources: sources });
    const [first] = intentions;
    return { destination, drafts: intentions, meta: first?.meta, jwt: first?.jwt };
  } catch (error) {
    if (!isMeshError(error)) throw error;
    report.left(
      `intentions to ${destination} (all)`,
      `${error.message.replace(/\.$/, '')}; none of them is taken, so that ${destination} is not half open`,
    );
    return undefined;
  }
}

function heldBack(taken: Taken, missing: string | undefined, report: ImportReport): Taken {
  if (taken.destination !== '*') return taken;
  const drafts = taken.drafts.filter(({ source, action }) => {
    if (action !== 'allow') return true;
    report.left(
      `intention ${source} -> * (allow)`,
      `it would open ${missing}, whose own intentions could not be taken`,
    );
    return false;
  });
  return { ...taken, drafts };
}

function fileOf(taken: readonly Taken[]): IntentionFile {
  const held = taken.filter(({ drafts }) => drafts.length > 0);
  const metas = held.flatMap(({ destination, meta }) => (meta === undefined ? [] : [[destination, meta] as const]));
  const jwts = held.flatMap(({ destination, jwt }) => (jwt === undefined ? [] : [[destination, jwt] as const]));
  return {
    kind: 'selvedge-intentions',
    version: 1,
    intentions: held.flatMap(({ drafts }) =>
      drafts.map((draft) => ({ source: draft.source, destination: draft.destination, ...formatMeshIntention(draft) })),
    ),
    ...(metas.length === 0 ? {} : { meta: Object.fromEntries(metas) }),
    ...(jwts.length === 0 ? {} : { jwt: Object.fromEntries(jwts) as NonNullable<IntentionFile['jwt']> }),
  };
}

/** What no intention says anything of, Consul may allow. */
async function noteDefault(source: ConsulSource, file: IntentionFile, report: ImportReport): Promise<void> {
  if (file.intentions.some((one) => one.source === '*' && one.destination === '*')) return;
  const nobody = 'selvedge-import-probe';
  const answer = await source.attempt(`/v1/connect/intentions/check?source=${nobody}-a&destination=${nobody}-b`);
  const checked = 'json' in answer ? checkedSchema.safeParse(answer.json).data : undefined;
  if (checked?.Allowed === true) {
    report.note(
      'the source allows calls that no intention speaks of; here they are denied, unless the catalog runs with --default-intention-policy allow',
    );
  }
}
