import { z } from 'zod';
import { consulObject, invalidIntention, parseConsul } from './consul-object.ts';
import type { Intention } from './intention.ts';
import {
  type IntentionDraft,
  judgeMeta,
  judgeName,
  parseSource,
  requireDefault,
  sourceSchema,
} from './intention-form.ts';
import { compareIntentions } from './intention-precedence.ts';
import { consulJwtSchema, formatJwtRequirement, parseJwtRequirement } from './jwt-form.ts';
import { formatPermissions } from './permission-form.ts';
import { quote } from './quote.ts';

/** Most sources of one destination. */
const maxSources = 1_024;
const text = z.string().max(1_024).exactOptional();
const readOnly = z.unknown().exactOptional();

/** A service-intentions config entry. The shape only; meanings are judged by parseServiceIntentions. */
export const serviceIntentionsSchema = consulObject({
  Kind: text,
  Name: text,
  Namespace: text,
  Partition: text,
  Sources: z.array(sourceSchema).max(maxSources).exactOptional(),
  JWT: consulJwtSchema.exactOptional(),
  Meta: z.record(z.string(), z.string()).exactOptional(),
  Hash: readOnly,
  CreateIndex: readOnly,
  ModifyIndex: readOnly,
});

/**
 * Reads a service-intentions config entry: the same truth as a list of intentions with one destination. Its Meta and JWT are shown on each (Consul's ToIntention).
 * @throws MeshError SLV-5004 naming the field, in Consul's words
 */
export function parseServiceIntentions(entry: unknown): { destination: string; intentions: readonly IntentionDraft[] } {
  const {
    Kind = 'service-intentions',
    Name: destination = '',
    Sources = [],
    ...given
  } = parseConsul(serviceIntentionsSchema, entry, '');
  if (Kind !== 'service-intentions') throw invalidIntention("Kind must be 'service-intentions'");
  judgeName('', destination);
  requireDefault('Namespace', given.Namespace);
  requireDefault('Partition', given.Partition);
  judgeMeta(given.Meta);
  const jwt = given.JWT === undefined ? undefined : parseJwtRequirement(given.JWT, 'JWT');
  if (Sources.length === 0) throw invalidIntention('At least one source is required');
  const seen = new Set<string>();
  const intentions = Sources.map((source, index) => {
    const draft = parseSource(source, index, destination);
    if (seen.has(draft.source))
      throw invalidIntention(`Sources[${index}] defines ${quote(draft.source)} more than once`);
    seen.add(draft.source);
    return {
      ...draft,
      ...(given.Meta === undefined ? {} : { meta: given.Meta }),
      ...(jwt === undefined ? {} : { jwt }),
    };
  });
  return { destination, intentions };
}

/**
 * The config entry that holds these intentions, `Sources` by precedence; undefined for none.
 * @param intentions all of one destination
 */
export function formatServiceIntentions(intentions: readonly Intention[]): object | undefined {
  const ordered = intentions.toSorted(compareIntentions);
  const [first] = ordered;
  if (first === undefined) return undefined;
  const meta = ordered.find((intention) => intention.meta !== undefined)?.meta;
  const jwt = first.jwt;
  return {
    Kind: 'service-intentions',
    Name: first.destination,
    ...(jwt === undefined ? {} : { JWT: formatJwtRequirement(jwt) }),
    Sources: ordered.map((intention) => ({
      Name: intention.source,
      ...(intention.permissions === undefined
        ? { Action: intention.action }
        : { Permissions: formatPermissions(intention.permissions) }),
      Precedence: intention.precedence,
      Type: 'consul',
      ...(intention.description === undefined ? {} : { Description: intention.description }),
    })),
    ...(meta === undefined ? {} : { Meta: meta }),
    CreateIndex: Math.min(...ordered.map((intention) => intention.createIndex)),
    ModifyIndex: Math.max(...ordered.map((intention) => intention.modifyIndex)),
  };
}
