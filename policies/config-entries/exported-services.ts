import { z } from 'zod';
import {
  defaultOnly,
  entryFields,
  entryObject,
  invalidEntry,
  judgeEntryMeta,
  judgeOnlyName,
  text,
} from './entry-object.ts';

/** Which services other clusters may use: the one entry `default`. */
export const exportedServicesSchema = entryObject({
  ...entryFields('exported-services'),
  Name: z.string().max(256).default(''),
  Services: z
    .array(
      entryObject({
        Name: z.string().max(256).default(''),
        Namespace: defaultOnly,
        Consumers: z
          .array(entryObject({ Partition: text, Peer: text, SamenessGroup: text }))
          .max(256)
          .nullable()
          .default(null),
      }),
    )
    .max(1_024)
    .nullable()
    .default(null),
});
export type ExportedServices = z.output<typeof exportedServicesSchema>;

/** @throws ConsulError 400 in Consul's words */
export function judgeExportedServices(entry: ExportedServices): void {
  if (entry.Name === '') throw invalidEntry('Name is required');
  judgeOnlyName(entry.Name, 'default');
  judgeEntryMeta(entry.Meta);
  for (const [index, { Name, Consumers }] of (entry.Services ?? []).entries()) {
    if (Name === '') throw invalidEntry(`Services[${index}]: service name cannot be empty`);
    if ((Consumers ?? []).length === 0) {
      throw invalidEntry(`Services[${index}]: must have at least one consumer`);
    }
    for (const [at, { Partition, Peer, SamenessGroup }] of (Consumers ?? []).entries()) {
      const place = `Services[${index}].Consumers[${at}]: `;
      const named = [Partition, Peer, SamenessGroup].filter((one) => one !== undefined);
      if (named.length > 1) {
        throw invalidEntry(`${place}must define at most one of Peer, Partition, or SamenessGroup`);
      }
      if (named.length === 0)
        throw invalidEntry(`${place}must define at least one of Peer, Partition, or SamenessGroup`);
      if (Peer === '*') throw invalidEntry(`${place}exporting to all peers (wildcard) is not supported`);
      if (Partition !== undefined || SamenessGroup !== undefined) {
        throw invalidEntry(`${place}partitions and sameness groups are not supported: name a Peer`);
      }
    }
  }
}
