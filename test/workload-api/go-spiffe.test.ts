import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { whyNoGo } from '../go-program.ts';
import { MeshProcesses } from '../mesh-processes.ts';
import { listening } from '../sidecars.ts';
import { buildGoWorkload, GoWorkload } from './go-workload.ts';

const missing = await whyNoGo();
const skip = missing !== undefined && process.env['CI'] !== 'true' ? missing : false;

test('go-spiffe: SVID, rotation, an mTLS call through an edge proxy, JWT-SVID', { skip }, async (t) => {
  assert.equal(missing, undefined);
  const directory = mkdtempSync(join(tmpdir(), 'slv-'));
  const mesh = new MeshProcesses(directory);
  const application = createServer((request, response) =>
    response.end(`${request.url} of ${request.headers['selvedge-source']}`),
  );
  t.after(async () => {
    await mesh.end();
    application.close();
    rmSync(directory, { recursive: true });
  });
  const port = await listening(application);
  const building = buildGoWorkload();
  await mesh.startControlPlane();
  await mesh.speakHttp('db');
  mkdirSync(mesh.path('run'), { mode: 0o700 });
  const socket = mesh.path('run', 'web.sock');
  const [db] = await Promise.all([
    mesh.startProxy('db', { service: 'db', local: `127.0.0.1:${port}` }),
    mesh.startProxy('web', { service: 'web', flags: ['--workload-api-socket', socket, '--svid-ttl', '1m'] }),
  ]);

  const web = new GoWorkload(await building, socket);
  t.after(() => web.stop());
  const webId = 'spiffe://mesh.internal/ns/default/dc/dc1/svc/web';
  const dbId = 'spiffe://mesh.internal/ns/default/dc/dc1/svc/db';
  const first = await web.line(/^svid /);
  assert.match(first, new RegExp(`^svid ${webId} [0-9a-f]+ 1$`));

  web.say(`call https://${db.inbound}/orders ${dbId}`);
  assert.match(await web.line(/^(answer|call-error)/), /^answer 403 .*SLV-4001/);
  await mesh.intend('web', 'db', 'allow');
  const answer = await askUntil(web, `call https://${db.inbound}/orders ${dbId}`, /^answer 200 /);
  assert.equal(answer, `answer 200 /orders of ${webId}`);

  web.say('jwt orders');
  assert.equal(await web.line(/^(jwt|error)/), `jwt ${webId} orders`);

  // Renewed at a third of its minute.
  const renewed = await web.line(/^svid /, 40_000, web.lines.indexOf(first) + 1);
  assert.notEqual(renewed, first);
  const from = web.lines.length;
  web.say(`call https://${db.inbound}/again ${dbId}`);
  assert.equal(await web.line(/^(answer|call-error)/, 30_000, from), `answer 200 /again of ${webId}`);

  // The proxy restarts; the client finds it again.
  const before = web.lines.length;
  await mesh.child('web').end();
  await mesh.restartProxy('web');
  await web.line(/^svid /, 30_000, before);
});

/** Says a thing again and again until the answer is the wanted one: intentions take a moment to arrive. */
async function askUntil(workload: GoWorkload, line: string, wanted: RegExp): Promise<string> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const from = workload.lines.length;
    workload.say(line);
    const answer = await workload.line(/^(answer|call-error)/, 30_000, from);
    if (wanted.test(answer)) return answer;
  }
  throw new Error(`never ${wanted}: ${workload.lines.join('\n')}`);
}
