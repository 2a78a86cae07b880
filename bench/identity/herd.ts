import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { openMeshIdentity } from '#runtime/svid/mesh-identity.ts';

/*
 * Many proxies in one process, each the real client of the mesh with a node key of its own: first contact, joining, first SVID, and then it waits for the next
 * trust bundle, on a connection that stays. All begin at one moment. What they log goes to standard error, as a proxy's would.
 */

/** What to do, as a JSON file named by the first argument. */
export interface HerdPlan {
  readonly identityUrl: string;
  readonly caFile: string;
  readonly proxies: readonly { readonly service: string; readonly joinToken: string }[];
  /** For the files that hold the tokens. */
  readonly directory: string;
  /** All begin when this file is there. */
  readonly startFile: string;
  readonly deadlineMs: number;
}

/** What came of it. */
export interface HerdResult {
  /** For each that was served: milliseconds from the start until it had its SVID. */
  readonly servedAfterMs: readonly number[];
  /** Why the others gave up. */
  readonly failures: readonly string[];
  readonly cpuSeconds: number;
}

const plan: HerdPlan = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
const context = systemContext(createLogger({ process: 'herd', level: 'warn' }));
const stopping = new AbortController();
const files = plan.proxies.map(({ service, joinToken }) => {
  const path = join(plan.directory, `${service}.token`);
  writeFileSync(path, joinToken, { mode: 0o600 });
  return path;
});
process.stdout.write('ready\n');
while (!existsSync(plan.startFile)) await pause(5);
const begin = performance.now();
const deadline = setTimeout(() => stopping.abort(), plan.deadlineMs);
const served = await Promise.allSettled(plan.proxies.map(({ service }, at) => becomeServed(service, files[at] ?? '')));
clearTimeout(deadline);
const { user, system } = process.cpuUsage();
const result: HerdResult = {
  servedAfterMs: served.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])),
  failures: served.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : [])),
  cpuSeconds: (user + system) / 1e6,
};
process.stdout.write(`RESULT ${JSON.stringify(result)}\n`);
process.exit(0);

async function becomeServed(service: string, joinTokenFile: string): Promise<number> {
  const identity = await openMeshIdentity({
    identityUrl: plan.identityUrl,
    services: [service],
    stateDir: undefined,
    joinTokenFile,
    caFile: plan.caFile,
    nodeName: `node-of-${service}`,
    context,
    awaitBundles: true,
    signal: stopping.signal,
  });
  const svid = identity.svid(service);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  stopping.signal.addEventListener('abort', () => reject(new Error('not served until the deadline')), { once: true });
  svid.onChange(() => resolve());
  if (svid.current !== undefined) resolve();
  await promise;
  return performance.now() - begin;
}
