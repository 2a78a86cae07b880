import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { freePorts } from '../free-ports.ts';
import { startHttpApplication } from '../scenarios/application.ts';
import { findSystemTool } from '../system-tool.ts';
import { waitFor } from '../wait-for.ts';
import { startDevMesh } from './dev-mesh.ts';
import { buildGoClients, skipWithoutGo } from './go-clients.ts';

const prometheus = await findSystemTool({ binary: 'prometheus', debian: 'prometheus' });
const skip = prometheus.skip === false ? await skipWithoutGo() : prometheus.skip;

/** Scrapes what passes its checks. `targets` is a file by consul_sd, see go/consul_sd.go. */
const configuration = (targets: string) => `
global: { scrape_interval: 1s, scrape_timeout: 1s }
scrape_configs:
  - job_name: mesh
    file_sd_configs:
      - { files: ['${targets}'], refresh_interval: 1s }
    relabel_configs:
      - { source_labels: [__meta_consul_health], regex: passing, action: keep }
      - { source_labels: [__meta_consul_service], target_label: service }
      - { source_labels: [__meta_consul_service_id], target_label: instance }
      - { source_labels: [__meta_consul_node], target_label: node }
      - { source_labels: [__meta_consul_dc], target_label: dc }
      - { source_labels: [__meta_consul_tags], target_label: tags }
      - { source_labels: [__meta_consul_service_metadata_version], target_label: version }
      - { source_labels: [__meta_consul_metadata_rack], target_label: rack }
      - { source_labels: [__meta_consul_service_metadata_metrics_path], regex: (.+), target_label: __metrics_path__ }
`;

/** A time series of an answer, with its newest value. */
interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

describe('Prometheus finds what it scrapes by consul_sd', { skip }, () => {
  test('with labels from the catalog, and follows health and instances', async () => {
    assert.ok(prometheus.path !== undefined, prometheus.path === undefined ? prometheus.reason : '');
    const building = buildGoClients();
    const mesh = await startDevMesh();
    const applications = await Promise.all([startHttpApplication(), startHttpApplication(), startHttpApplication()]);
    const [web1 = 0, web2 = 0, db = 0] = applications.map(({ address }) => Number(address.split(':')[1]));
    for (const application of applications)
      application.answer = (outgoing, { path }) =>
        outgoing
          .writeHead(200, { 'content-type': 'text/plain; version=0.0.4' })
          .end(`orders_total{path="${path}"} 42\n`);

    await mesh.put('/v1/agent/service/register', {
      ...{ Name: 'web', ID: 'web-1', Port: web1, Tags: ['metrics', 'blue'] },
      Meta: { version: '1.2', metrics_path: '/stats' },
      Check: { CheckID: 'web-1', TTL: '10m', Status: 'passing' },
    });
    await mesh.put('/v1/agent/service/register', { Name: 'private', ID: 'private-1', Port: web2 });
    await mesh.put('/v1/catalog/register', {
      ...{ Node: 'db-host', Address: '127.0.0.1', NodeMeta: { rack: '7' } },
      Service: { Service: 'db', ID: 'db-1', Port: db, Tags: ['metrics'] },
      Check: { CheckID: 'db-1', ServiceID: 'db-1', Name: 'db', Status: 'passing' },
    });

    const [port = 0] = await freePorts(1);
    const file = join(mesh.directory, 'prometheus.yml');
    const targets = join(mesh.directory, 'targets.json');
    writeFileSync(file, configuration(targets));
    mesh.run('consul-sd', await building, ['consul-sd', mesh.address, targets]);
    mesh.run('prometheus', prometheus.path, [
      ...[`--config.file=${file}`, `--storage.tsdb.path=${join(mesh.directory, 'tsdb')}`],
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    const query = async (expression: string): Promise<readonly Sample[]> => {
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`);
      return ((await answer.json()) as { data: { result: Sample[] } }).data.result;
    };
    const isScraped = (wanted: readonly string[]) =>
      waitFor(
        `${wanted} to be scraped`,
        async () => {
          const samples = await query('up == 1');
          return String(samples.map(({ metric }) => metric['instance']).sort()) === String(wanted);
        },
        40_000,
      );

    await isScraped(['db-1', 'web-1']);
    const sample = (service: string) =>
      waitFor(`a sample of ${service}`, async () => (await query(`orders_total{service="${service}"}`))[0], 40_000);
    const web = await sample('web');
    assert.deepEqual(web.metric, {
      ...{ __name__: 'orders_total', job: 'mesh', path: '/stats', service: 'web', instance: 'web-1' },
      ...{ node: 'laptop', dc: 'dc1', tags: ',metrics,blue,', version: '1.2' },
    });
    assert.equal(web.value[1], '42');
    assert.equal((await sample('db')).metric['rack'], '7');

    // All at once: Prometheus looks at what was discovered every 5 s.
    await mesh.put('/v1/agent/service/register', { Name: 'web', ID: 'web-2', Port: web2, Tags: ['metrics'] });
    await mesh.put('/v1/agent/check/fail/web-1');
    await mesh.put('/v1/catalog/deregister', { Node: 'db-host' });
    await isScraped(['web-2']);
  });
});
