import type { z } from 'zod';
import { readEntry } from './entry-object.ts';
import { type ExportedServices, exportedServicesSchema, judgeExportedServices } from './exported-services.ts';
import { type JwtProvider, judgeJwtProvider, jwtProviderSchema } from './jwt-provider.ts';
import { judgeMesh, type Mesh, meshSchema } from './mesh.ts';
import { judgeProxyDefaults, type ProxyDefaults, proxyDefaultsSchema } from './proxy-defaults.ts';
import { judgeServiceDefaults, type ServiceDefaults, serviceDefaultsSchema } from './service-defaults.ts';
import { judgeServiceResolver, type ServiceResolver, serviceResolverSchema } from './service-resolver.ts';
import { judgeServiceRouter, type ServiceRouter, serviceRouterSchema } from './service-router.ts';
import { judgeServiceSplitter, type ServiceSplitter, serviceSplitterSchema } from './service-splitter.ts';

/** Entries that are kept as Consul shows them; service-intentions, which have a model of their own, are not among them. */
export interface EntriesByKind {
  'service-defaults': ServiceDefaults;
  'proxy-defaults': ProxyDefaults;
  'service-resolver': ServiceResolver;
  'service-router': ServiceRouter;
  'service-splitter': ServiceSplitter;
  mesh: Mesh;
  'exported-services': ExportedServices;
  'jwt-provider': JwtProvider;
}
export type EntryKind = keyof EntriesByKind;
export type KeptEntry = EntriesByKind[EntryKind];

interface Form<Entry> {
  readonly schema: z.ZodType<Entry>;
  readonly judge: (entry: Entry) => void;
}

const forms: { readonly [Kind in EntryKind]: Form<EntriesByKind[Kind]> } = {
  'service-defaults': { schema: serviceDefaultsSchema, judge: judgeServiceDefaults },
  'proxy-defaults': { schema: proxyDefaultsSchema, judge: judgeProxyDefaults },
  'service-resolver': { schema: serviceResolverSchema, judge: judgeServiceResolver },
  'service-router': { schema: serviceRouterSchema, judge: judgeServiceRouter },
  'service-splitter': { schema: serviceSplitterSchema, judge: judgeServiceSplitter },
  mesh: { schema: meshSchema, judge: judgeMesh },
  'exported-services': { schema: exportedServicesSchema, judge: judgeExportedServices },
  'jwt-provider': { schema: jwtProviderSchema, judge: judgeJwtProvider },
};

/** The kinds of KeptEntry. */
export const entryKinds = Object.keys(forms) as EntryKind[];

/**
 * Reads an entry as Consul's clients write it and judges it as Consul's Validate() does, in its words. Unknown fields are refused.
 * @throws ConsulError 400
 */
export function parseConfigEntry<Kind extends EntryKind>(kind: Kind, body: unknown): EntriesByKind[Kind] {
  const { schema, judge }: Form<EntriesByKind[Kind]> = forms[kind];
  const entry = readEntry(schema, body);
  judge(entry);
  return entry;
}
