import { z } from 'zod';
import type { ServiceClient } from '../service-client.ts';
import type { ConsulSource } from './consul-source.ts';
import type { ImportReport } from './import-report.ts';

const text = z
  .string()
  .nullish()
  .transform((given) => given ?? '');
const stringMap = z
  .record(z.string(), z.string())
  .nullish()
  .transform((given) => given ?? {});
const nodeSchema = z.looseObject({
  ID: text,
  Node: z.string(),
  Address: text,
  TaggedAddresses: stringMap,
  Meta: stringMap,
});
const serviceSchema = z.looseObject({ ID: z.string(), Service: z.string(), Kind: text });
const checkSchema = z.looseObject({
  CheckID: z.string(),
  Name: text,
  Status: text,
  Notes: text,
  Output: text,
  ServiceID: text,
});
const servicesSchema = z.looseObject({ Services: z.array(serviceSchema).nullish() }).nullable();
type Check = z.infer<typeof checkSchema>;

/** Present on every node that runs an agent (Consul). */
const agentCheck = 'serfHealth';
/** What is compared of an instance; the rest are indexes and defaults. */
const comparedFields = ['ID', 'Service', 'Kind', 'Address', 'Port', 'Tags', 'Meta', 'Weights'];

/**
 * Takes over what was registered at the catalog itself, as for databases outside of the mesh: nodes that run no agent, with services and checks. What an agent
 * registers, the agent here registers too, when the service moves.
 */
export async function importRegistrations(
  source: ConsulSource,
  target: ServiceClient,
  apply: boolean,
  report: ImportReport,
): Promise<void> {
  const nodes =
    z
      .array(nodeSchema)
      .nullable()
      .parse(await source.get('/v1/catalog/nodes')) ?? [];
  let ofAgents = 0;
  for (const node of nodes) {
    const name = encodeURIComponent(node.Node);
    const checks =
      z
        .array(checkSchema)
        .nullable()
        .parse(await source.get(`/v1/health/node/${name}`)) ?? [];
    if (checks.some(({ CheckID }) => CheckID === agentCheck)) {
      ofAgents += 1;
      continue;
    }
    const { Services } = servicesSchema.parse(await source.get(`/v1/catalog/node-services/${name}`)) ?? {};
    const held = await servicesHere(target, node.Node);
    for (const service of Services ?? []) {
      const what = `service ${service.Service} (${service.ID}) on ${node.Node}`;
      if (service.Kind !== '') {
        report.left(what, `it is a ${service.Kind}, which edge proxies register by themselves`);
        continue;
      }
      const own = checks.filter(({ ServiceID }) => ServiceID === service.ID || ServiceID === '').map(checkOf);
      const here = held?.get(service.ID);
      const fate = here === undefined ? 'new' : saidOf(here) === saidOf(service) ? 'same' : 'changed';
      // Also where nothing changed: its checks may have.
      const failure = apply ? await register(target, node, service, own) : undefined;
      if (failure === undefined) report.add(what, fate);
      else report.left(what, failure);
    }
  }
  if (ofAgents > 0)
    report.note(
      `${ofAgents} nodes with an agent are not taken over: their services register when their edge proxies start`,
    );
}

async function register(
  target: ServiceClient,
  node: z.infer<typeof nodeSchema>,
  { CreateIndex, ModifyIndex, ...Service }: z.infer<typeof serviceSchema>,
  Checks: readonly object[],
): Promise<string | undefined> {
  const { ID, Node, Address, TaggedAddresses, Meta } = node;
  const answer = await target.attempt('PUT', '/v1/catalog/register', {
    ...(ID === '' ? {} : { ID }),
    Node,
    Address,
    TaggedAddresses,
    NodeMeta: Meta,
    Service,
    Checks,
  });
  return answer.status < 400 ? undefined : answer.body.toString('utf8').slice(0, 300).trim();
}

async function servicesHere(target: ServiceClient, node: string): Promise<Map<string, object> | undefined> {
  const answer = await target.attempt('GET', `/v1/catalog/node-services/${encodeURIComponent(node)}`);
  if (answer.status !== 200) return undefined;
  const { Services } = servicesSchema.parse(JSON.parse(answer.body.toString('utf8'))) ?? {};
  return new Map((Services ?? []).map((service) => [service.ID, service]));
}

function saidOf(service: object): string {
  const fields = new Map(Object.entries(service));
  return JSON.stringify(comparedFields.map((field) => (isNothing(fields.get(field)) ? null : fields.get(field))));
}

/** Go shows an empty list as null, as nothing, or as it is. */
function isNothing(value: unknown): boolean {
  return !value || (typeof value === 'object' && Object.keys(value).length === 0);
}

function checkOf({ CheckID, Name, Status, Notes, Output, ServiceID }: Check): object {
  return { CheckID, Name, Status, Notes, Output, ServiceID };
}
