import { openEmbeddedCa } from '#identity/backends/embedded.ts';
import { readCertificateRequest, requireNothingElse } from '#identity/certificate-request.ts';
import { verifyIssued } from '#identity/verify-issued.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { sideBySide } from '#runtime/svid/side-by-side.ts';
import { quantile } from '../report.ts';
import type { LoadResult } from './load.ts';

/*
 * The issuing core alone, a process of its own with as many orders at once as the peer has callers: check the request, fill the template, sign, verify
 * what came back. No network, no store, no audit log. The argument is the number of seconds.
 */

const seconds = Number(process.argv[2]);
const callers = 32;
const context = systemContext(createLogger({ process: 'bench', level: 'silent' }));
const trustDomain = parseTrustDomain('bench.selvedge');
const spiffeId = parseSpiffeId(`spiffe://${trustDomain}/ns/default/dc/dc1/svc/web`);
const ca = await openEmbeddedCa({ dataDir: undefined, trustDomain }, context);
const csrs = Array.from({ length: 512 }, () => makeCsr(makeKeyPair()));

let turn = 0;
async function issue(): Promise<void> {
  const request = await readCertificateRequest(csrs[turn++ % csrs.length] ?? '');
  requireNothingElse(request, spiffeId);
  const order = { request, spiffeId, ttlSeconds: 14_400 };
  await verifyIssued(await ca.sign(order), order, ca.roots, context.clock());
}

for (const end = performance.now() + 500; performance.now() < end; ) await issue();
const latencies: number[] = [];
const before = process.cpuUsage();
const begin = performance.now();
async function keepIssuing(): Promise<void> {
  while (performance.now() < begin + seconds * 1_000) {
    const asked = performance.now();
    await sideBySide(issue);
    latencies.push(performance.now() - asked);
  }
}
await Promise.all(Array.from({ length: callers }, keepIssuing));
const durationSeconds = (performance.now() - begin) / 1_000;
const { user, system } = process.cpuUsage(before);
const result: LoadResult = {
  leaves: latencies.length,
  durationSeconds,
  p50Ms: quantile(latencies, 0.5),
  p99Ms: quantile(latencies, 0.99),
  errors: [],
  loaderCpuSeconds: 0,
  cpuSeconds: { core: (user + system) / 1e6 },
};
process.stdout.write(`RESULT ${JSON.stringify(result)}\n`);
await ca.close();
