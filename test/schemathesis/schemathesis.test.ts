import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { startDevMesh } from '../clients/dev-mesh.ts';
import { findPythonTool } from '../python-tool.ts';

/*
 * schemathesis makes requests of what the OpenAPI documents say, good and bad ones, and compares the answers with them: no server error but those that are
 * documented, no status, content type or body that is not described. A few seconds of it here; `npm run test:schemathesis` for minutes, other cases each time.
 */

const tool = await findPythonTool({
  binary: 'schemathesis',
  variable: 'SCHEMATHESIS',
  pypi: 'schemathesis==4.32.5',
});
const { SCHEMATHESIS_EXAMPLES: examples } = process.env;
/** For each operation. In the short run the same ones each time. */
const effort =
  examples === undefined
    ? ['--max-examples', '5', '--phases', 'examples,fuzzing', '--seed', '20261129']
    : ['--max-examples', examples, '--continue-on-failure'];
/** An answer that never ends, and one that waits for a minute. */
const endless = ['/v1/mesh/feed', '/v1/mesh/feed/dns'];

describe('schemathesis', { skip: tool.skip, concurrency: true }, async () => {
  const mesh = await startDevMesh();
  for (const [name, url] of [
    ['catalog', mesh.url],
    ['identity', mesh.identityUrl],
  ] as const) {
    test(`the API of ${name} is as its OpenAPI document says`, async (t) => {
      assert.ok(tool.path !== undefined, 'reason' in tool ? tool.reason : '');
      const run = mesh.run(name, tool.path, [
        ...['--config-file', join(import.meta.dirname, 'schemathesis.toml'), 'run', `${url}/openapi.json`],
        ...['--no-color', '--generation-database', 'none', '--request-timeout', '10', ...effort],
        ...(name === 'catalog' ? endless.flatMap((path) => ['--exclude-path', path]) : []),
      ]);
      const ended = await run.whenEnded(examples === undefined ? 150_000 : 3_600_000);
      t.diagnostic(/\d+ generated.*/.exec(run.log)?.[0] ?? '');
      assert.equal(ended, 'exit code 0', run.log.slice(-8_000));
    });
  }
});
