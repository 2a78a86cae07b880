import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createAgent } from '#edge-proxy/agent/agent.ts';
import { createCatalogClient } from '#edge-proxy/agent/catalog-client.ts';
import { CatalogForward } from '#edge-proxy/agent/catalog-forward.ts';
import { serveHttp } from '#runtime/http-service.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { buildGo } from '../go-program.ts';
import { waitFor } from '../wait-for.ts';
import { startDevMesh } from './dev-mesh.ts';
import { skipWithoutGo } from './go-clients.ts';

/** HashiCorp's consul-template, as it is, asking the agent of a host that hands on to a catalog: it watches by ?stale blocking queries, one for each thing. */

const template = `
{{ range services }}{{ .Name }}:{{ .Tags | join "," }} {{ end }}
{{ range service "blue.web|any" }}{{ .ID }} {{ .Address }}:{{ .Port }} {{ .Status }} {{ .NodeMeta.rack }} {{ .ServiceMeta.v }}{{ end }}
{{ range service "web" }}passing {{ .ID }}{{ end }}
{{ range connect "web" }}proxy {{ .Port }}{{ end }}
{{ range nodes }}{{ .Node }}={{ .Address }} {{ end }}
{{ with node "host-1" }}{{ .Node.ID | len }}{{ range .Services }} {{ .Service }}{{ end }}{{ end }}
{{ range datacenters }}{{ . }}{{ end }}
{{ keyOrDefault "app/limit" "none" }} {{ range ls "app" }}{{ .Key }}={{ .Value }} {{ end }}{{ range tree "app" }}{{ .Key }} {{ end }}
`;

test('consul-template renders what there is and each change of it', { skip: await skipWithoutGo() }, async () => {
  const building = buildGo('consul-template');
  const mesh = await startDevMesh();
  const agent = await startAgent(mesh.url);
  const register = (id: string, status: string) =>
    mesh.put('/v1/catalog/register', {
      ...{ Node: 'host-1', Address: '10.0.0.1', NodeMeta: { rack: 'r1' } },
      Service: { Service: 'web', ID: id, Port: 8080, Tags: ['blue'], Meta: { v: '1' } },
      Check: { CheckID: `alive-${id}`, Name: 'alive', ServiceID: id, Status: status },
    });
  await register('web-1', 'warning');
  await mesh.put('/v1/catalog/register', {
    ...{ Node: 'host-1', Address: '10.0.0.1', NodeMeta: { rack: 'r1' } },
    Service: { Service: 'web-proxy', Kind: 'connect-proxy', Port: 21_000, Proxy: { DestinationServiceName: 'web' } },
  });
  const [source, out] = ['in.tpl', 'out.txt'].map((name) => join(mesh.directory, name)) as [string, string];
  writeFileSync(source, template);
  mesh.run('consul-template', await building, [
    '-consul-addr',
    agent,
    '-template',
    `${source}:${out}`,
    '-log-level',
    'debug',
  ]);
  const rendered = async (lines: readonly string[]) => {
    const read = () =>
      readFileSync(out, 'utf8')
        .trim()
        .split('\n')
        .map((line) => line.trim());
    await waitFor('the file to be written', () => read().length > 0, 60_000);
    await waitFor(`${lines.join(' | ')}`, () => assert.deepEqual(read(), lines) === undefined, 20_000);
  };
  const nodes = 'host-1=10.0.0.1';
  await rendered([
    ...['web:blue web-proxy:', 'web-1 10.0.0.1:8080 warning r1 1', '', 'proxy 21000', nodes, '36 web web-proxy', 'dc1'],
    'none',
  ]);
  await register('web-1', 'passing');
  const text = { method: 'PUT', body: '9' };
  assert.equal((await fetch(`${mesh.url}/v1/kv/app/limit`, text)).status, 200);
  await rendered([
    ...['web:blue web-proxy:', 'web-1 10.0.0.1:8080 passing r1 1', 'passing web-1', 'proxy 21000', nodes],
    ...['36 web web-proxy', 'dc1', '9 limit=9 limit'],
  ]);
});

/** The agent of a host. @returns its URL */
async function startAgent(catalogUrl: string): Promise<string> {
  const log = createLogger({ process: 'test', level: 'silent' });
  const context = systemContext(log);
  const agent = createAgent({
    ...{ nodeName: 'host-1', nodeAddress: '10.0.0.1', datacenter: 'dc1' },
    catalog: createCatalogClient({ url: catalogUrl, trust: undefined, svidFor: () => undefined, clock: context.clock }),
    authorize: () => ({ allowed: false, rule: 'none', reason: 'not asked here' }),
    access: { kind: 'open' },
    forward: new CatalogForward({ url: catalogUrl, trust: undefined, svid: () => undefined, context }),
    context,
    signal: new AbortController().signal,
  });
  const served = await serveHttp({ app: await agent.app(), host: '127.0.0.1', port: 0, log, clock: context.clock });
  after(async () => {
    await served.close(0);
    await agent.close();
  });
  return served.url;
}
