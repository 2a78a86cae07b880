import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import { test } from 'node:test';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { formatSpiffeBundle } from '#policies/trust-bundle.ts';
import { openAuditLog } from '#runtime/audit/audit-log.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { serverTlsOptions } from '#runtime/tls-identity.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { makeCa } from '#test/mini-ca.ts';
import { Federation } from './federation.ts';
import { Relationships } from './relationships.ts';

test('bundles are fetched at their refresh hint; after a failure not sooner', async () => {
  const clock = { ms: 1_000_000 };
  const context = {
    ...systemContext(createLogger({ process: 'test', level: 'silent' })),
    clock: () => clock.ms,
    random: () => 0.999,
  };
  const [own, theirs] = [makeCa('a.test'), makeCa('b.test')];
  const endpointSpiffeId = 'spiffe://b.test/bundle-endpoint';
  const bundle = formatSpiffeBundle({ ...theirs.bundle, refreshHintSeconds: 600 });
  const nowMs = Date.now();
  const endpoint = theirs.issue({ spiffeId: endpointSpiffeId });
  clock.ms = nowMs;
  const askedAtMs: number[] = [];
  const server = createServer(serverTlsOptions(endpoint), (_, response) => {
    askedAtMs.push(clock.ms - nowMs);
    // The second one fails, once.
    response.writeHead(askedAtMs.length === 2 ? 503 : 200).end(JSON.stringify(bundle));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;

  const store = await openSqliteStore({ path: undefined, clock: context.clock, log: context.log });
  const relationships = await Relationships.load(store);
  const stop = new AbortController();
  let published = 0;
  const federation = new Federation({
    relationships,
    trust: {
      bundle: own.bundle,
      refresh: async () => {
        published += 1;
      },
    },
    webRoots: undefined,
    audit: await openAuditLog(undefined, context),
    context,
    pause: async (ms) => {
      clock.ms += ms;
      if (clock.ms > nowMs + 1_700_000) stop.abort();
    },
  });
  const trustDomain = parseTrustDomain('b.test');
  const url = `https://127.0.0.1:${port}/`;
  await federation.create(
    { trustDomain, url, profile: 'https_spiffe', endpointSpiffeId, bundle: { keys: [], ...bundle } },
    'test',
  );
  await federation.run(stop.signal);
  assert.deepEqual(askedAtMs, [0, 600_000, 1_200_000]);
  assert.equal(federation.failureOf(trustDomain), undefined);
  assert.equal(published, 1, 'what says nothing new is not published');
  server.closeAllConnections();
  server.close();
  await store.close();
});
