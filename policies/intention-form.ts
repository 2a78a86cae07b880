import { z } from 'zod';
import { consulObject, invalidIntention, parseConsul } from './consul-object.ts';
import type { Intention, IntentionAction, Permission } from './intention.ts';
import { precedenceOf, wildcard } from './intention-precedence.ts';
import { consulJwtSchema, formatJwtRequirement, parseJwtRequirement } from './jwt-form.ts';
import { formatPermissions, parsePermissions, permissionsSchema } from './permission-form.ts';
import { quote } from './quote.ts';
import { isServiceName } from './service-name.ts';

/** What a caller says of an intention; the catalog adds times and revisions (completeIntention). */
export type IntentionDraft = Omit<
  Intention,
  'precedence' | 'createdAtMs' | 'updatedAtMs' | 'createIndex' | 'modifyIndex'
>;

/** What the catalog knows of an intention beyond its draft. */
export type IntentionRecord = Pick<Intention, 'createdAtMs' | 'updatedAtMs' | 'createIndex' | 'modifyIndex'>;

/** Consul's limits (metaMaxKeyPairs, metaKeyMaxLength, metaValueMaxLength). */
const maxMetaPairs = 64;
const maxMetaKeyLength = 128;
const maxValueLength = 512;

const text = z.string().max(1_024).exactOptional();
/** Read back by clients that send what they got; computed here, never taken over. */
const readOnly = z.unknown().exactOptional();
const meta = z.record(z.string(), z.string()).exactOptional();

/** Fields of an intention (Go api.Intention). The shape only; meanings are judged by parseIntention. */
export const intentionSchema = consulObject({
  ID: readOnly,
  Description: text,
  SourcePartition: text,
  SourceNS: text,
  SourceName: text,
  SourcePeer: text,
  SourceSamenessGroup: text,
  DestinationPartition: text,
  DestinationNS: text,
  DestinationName: text,
  SourceType: text,
  Action: text,
  Permissions: permissionsSchema.exactOptional(),
  JWT: consulJwtSchema.exactOptional(),
  Meta: meta,
  DefaultAddr: readOnly,
  DefaultPort: readOnly,
  Precedence: readOnly,
  CreatedAt: readOnly,
  UpdatedAt: readOnly,
  Hash: readOnly,
  CreateIndex: readOnly,
  ModifyIndex: readOnly,
});

/** Fields of one element of `Sources` of a service-intentions config entry. */
export const sourceSchema = consulObject({
  Name: text,
  Partition: text,
  Namespace: text,
  Peer: text,
  SamenessGroup: text,
  Type: text,
  Action: text,
  Permissions: permissionsSchema.exactOptional(),
  Description: text,
  Precedence: readOnly,
  LegacyID: readOnly,
  LegacyMeta: meta,
  LegacyCreateTime: readOnly,
  LegacyUpdateTime: readOnly,
});

/**
 * Reads the body of an intention as Consul's clients send it and judges it as Consul's validate() does, in its words.
 * Beyond Consul, `Permissions` may stand on a wildcard destination: such an intention is a guard.
 * @param names from the URL; they override the body (Consul)
 * @throws MeshError SLV-5004 naming the field
 */
export function parseIntention(body: unknown, names?: { source: string; destination: string }): IntentionDraft {
  const given = parseConsul(intentionSchema, body, '');
  requireDefault('DestinationNS', given.DestinationNS);
  requireDefault('DestinationPartition', given.DestinationPartition);
  const destination = names?.destination ?? given.DestinationName ?? '';
  judgeName('', destination);
  judgeMeta(given.Meta);
  const source = parseSource(
    {
      Name: names?.source ?? given.SourceName ?? '',
      ...given,
      Namespace: given.SourceNS,
      Partition: given.SourcePartition,
      Peer: given.SourcePeer,
      SamenessGroup: given.SourceSamenessGroup,
      Type: given.SourceType,
    },
    0,
    destination,
  );
  return {
    ...source,
    ...(given.Meta === undefined || Object.keys(given.Meta).length === 0 ? {} : { meta: given.Meta }),
    ...(given.JWT === undefined ? {} : { jwt: parseJwtRequirement(given.JWT, 'JWT') }),
  };
}

/** Source fields as both forms have them. */
interface SourceFields {
  readonly Name?: string | undefined;
  readonly Namespace?: string | undefined;
  readonly Partition?: string | undefined;
  readonly Peer?: string | undefined;
  readonly SamenessGroup?: string | undefined;
  readonly Type?: string | undefined;
  readonly Action?: string | undefined;
  readonly Permissions?: z.output<typeof permissionsSchema> | undefined;
  readonly Description?: string | undefined;
  readonly LegacyMeta?: Readonly<Record<string, string>> | undefined;
}

/** Judges one source of a destination. @throws MeshError SLV-5004 */
export function parseSource(fields: SourceFields, index: number, destination: string): IntentionDraft {
  const at = `Sources[${index}].`;
  const { Name: source = '', Action = '', Type = '', Description = '', Permissions = [] } = fields;
  judgeName(at, source);
  if ((fields.Peer ?? '') !== '') throw invalidIntention(`${at}Peer: cannot specify a peer here`);
  if ((fields.SamenessGroup ?? '') !== '')
    throw invalidIntention(`${at}SamenessGroup: sameness groups are not supported`);
  requireDefault(`${at}Namespace`, fields.Namespace);
  requireDefault(`${at}Partition`, fields.Partition);
  if (Description.length > maxValueLength) {
    throw invalidIntention(`${at}Description exceeds maximum length ${maxValueLength}`);
  }
  if (Object.keys(fields.LegacyMeta ?? {}).length > 0) throw invalidIntention(`${at}LegacyMeta must be omitted`);
  const rule = parseRule(Action, parsePermissions(Permissions, at), at);
  if (Type !== '' && Type !== 'consul') throw invalidIntention(`${at}Type must be set to 'consul'`);
  return { source, destination, ...rule, ...(Description === '' ? {} : { description: Description }) };
}

function parseRule(
  action: string,
  permissions: readonly Permission[],
  at: string,
): { action: IntentionAction } | { permissions: readonly Permission[] } {
  if (permissions.length > 0) {
    if (action !== '') throw invalidIntention(`${at}Action must be omitted if Permissions are specified`);
    return { permissions };
  }
  if (action !== 'allow' && action !== 'deny') throw invalidIntention(`${at}Action must be set to 'allow' or 'deny'`);
  return { action };
}

/**
 * Reads a name as it stands in `?source=` and `?destination=`: `web`, `*`, `default/web`, `default/default/web`.
 * @throws MeshError SLV-5004, also for `peer:p/web`
 */
export function parseIntentionName(text: string): string {
  if (text.startsWith('peer:')) throw invalidIntention(`${quote(text)}: cannot specify a peer here`);
  const parts = text.split('/');
  const name = parts.pop() ?? '';
  if (parts.length > 2) throw invalidIntention(`${quote(text)} has too many slashes`);
  for (const part of parts) requireDefault(quote(text), part);
  judgeName('', name);
  return name;
}

/** Judges the Meta of an intention or config entry by Consul's limits. @throws MeshError SLV-5004 */
export function judgeMeta(given: Readonly<Record<string, string>> | undefined): void {
  const pairs = Object.entries(given ?? {});
  if (pairs.length > maxMetaPairs) throw invalidIntention(`Meta exceeds maximum element count ${maxMetaPairs}`);
  for (const [key, value] of pairs) {
    if (key.length > maxMetaKeyLength)
      throw invalidIntention(`Meta key ${quote(key)} exceeds maximum length ${maxMetaKeyLength}`);
    if (value.length > maxValueLength) {
      throw invalidIntention(`Meta value for key ${quote(key)} exceeds maximum length ${maxValueLength}`);
    }
  }
}

/** Judges the name of a source or destination. @throws MeshError SLV-5004 */
export function judgeName(at: string, name: string): void {
  if (name === '') throw invalidIntention(`${at}Name is required`);
  if (name === wildcard || isServiceName(name)) return;
  throw invalidIntention(
    name.includes(wildcard)
      ? `${at}Name: wildcard character '*' cannot be used with partial values`
      : `${at}Name: ${quote(name)} is not a valid name`,
  );
}

/** There is one namespace and one partition, as in Consul's community edition. */
export function requireDefault(field: string, given: string | undefined): void {
  if (given !== undefined && given !== '' && given !== 'default') {
    throw invalidIntention(`${field}: only the namespace and partition "default" exist`);
  }
}

/** A draft with what the catalog adds; the precedence is computed. */
export function completeIntention(draft: IntentionDraft, record: IntentionRecord): Intention {
  return { ...draft, ...record, precedence: precedenceOf(draft.source, draft.destination) };
}

/** An intention as Consul's API shows it (Go api.Intention). Times are RFC 3339. */
export function formatIntention(intention: Intention): object {
  return {
    Description: intention.description ?? '',
    SourceNS: 'default',
    SourceName: intention.source,
    DestinationNS: 'default',
    DestinationName: intention.destination,
    SourceType: 'consul',
    ...(intention.permissions === undefined
      ? { Action: intention.action }
      : { Permissions: formatPermissions(intention.permissions) }),
    ...(intention.jwt === undefined ? {} : { JWT: formatJwtRequirement(intention.jwt) }),
    Meta: intention.meta ?? {},
    Precedence: intention.precedence,
    CreatedAt: new Date(intention.createdAtMs).toISOString(),
    UpdatedAt: new Date(intention.updatedAtMs).toISOString(),
    CreateIndex: intention.createIndex,
    ModifyIndex: intention.modifyIndex,
  };
}
