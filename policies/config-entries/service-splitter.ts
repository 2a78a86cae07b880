import { z } from 'zod';
import { defaultOnly, entryFields, entryObject, invalidEntry, judgeServiceEntry, text } from './entry-object.ts';
import { headerModifiersSchema, judgeHeaderModifiers, mergeModifiers } from './header-modifiers.ts';

const splitSchema = entryObject({
  /** Percent, by hundredths. */
  Weight: z.number().default(0).transform(hundredths),
  Service: text,
  ServiceSubset: text,
  Namespace: defaultOnly,
  Partition: defaultOnly,
  RequestHeaders: headerModifiersSchema.exactOptional(),
  ResponseHeaders: headerModifiersSchema.exactOptional(),
});
export type ServiceSplit = z.output<typeof splitSchema>;

/** What part of the requests to a service goes where. HTTP only. */
export const serviceSplitterSchema = entryObject({
  ...entryFields('service-splitter'),
  Name: z.string().max(256).default(''),
  Splits: z.array(splitSchema).max(256).nullable().default(null),
});
export type ServiceSplitter = z.output<typeof serviceSplitterSchema>;

/** Weights are held to a hundredth of a percent (Consul). */
export function hundredths(weight: number): number {
  return Math.round(weight * 100) / 100;
}

/** @throws ConsulError 400 in Consul's words */
export function judgeServiceSplitter(entry: ServiceSplitter): void {
  if (entry.Name === '') throw invalidEntry('Name is required');
  const splits = entry.Splits ?? [];
  if (splits.length === 0) throw invalidEntry('no splits configured');
  judgeServiceEntry(entry);
  const seen = new Set<string>();
  for (const [index, split] of splits.entries()) {
    const { Service = entry.Name, ServiceSubset = '', Weight } = split;
    judgeHeaderModifiers(`Splits[${index}] RequestHeaders`, split.RequestHeaders);
    judgeHeaderModifiers(`Splits[${index}] ResponseHeaders`, split.ResponseHeaders);
    const place = JSON.stringify([Service, ServiceSubset]);
    if (seen.has(place)) {
      throw invalidEntry(
        `split destination occurs more than once: service=${JSON.stringify(Service)}, subset=${JSON.stringify(ServiceSubset)}, namespace="default", partition="default"`,
      );
    }
    seen.add(place);
    if (Weight < 0) throw invalidEntry(`the weight of a split must not be negative, and is ${Weight}`);
  }
  const sum = splits.reduce((total, { Weight }) => total + Math.round(Weight * 100), 0);
  if (sum !== 10_000) throw invalidEntry(`the sum of all split weights must be 100, not ${(sum / 100).toFixed(6)}`);
}

/** A split of a splitter that another split leads to: what both do to the headers, requests passing `outer` first, answers last. */
export function splitWithin(outer: ServiceSplit, inner: ServiceSplit): ServiceSplit {
  const RequestHeaders = mergeModifiers(outer.RequestHeaders, inner.RequestHeaders);
  const ResponseHeaders = mergeModifiers(inner.ResponseHeaders, outer.ResponseHeaders);
  return {
    ...inner,
    ...(RequestHeaders === undefined ? {} : { RequestHeaders }),
    ...(ResponseHeaders === undefined ? {} : { ResponseHeaders }),
  };
}
