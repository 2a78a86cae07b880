import { join } from 'node:path';
import { z } from 'zod';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { pause as realPause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { makeKeyPair, privateKeyPem } from '#runtime/svid/node-key.ts';
import { svidOfPem } from '#runtime/svid/node-state.ts';
import { identityServiceName } from '#runtime/svid/open-bundle.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { renewalPlan, retryDelayMs } from '#runtime/svid/renewal-plan.ts';
import { type Svid, type SvidSource, svidHolder } from '#runtime/svid/svid.ts';
import { isToBeRenewed } from '#runtime/svid/tainted.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { clockSkewMs, verifyChain } from '#runtime/svid/verify-peer.ts';
import type { Issuance } from './issuance.ts';

/** The SVID by which the service serves TLS and signs bundles, kept fresh until closed. */
export interface OwnSvid extends SvidSource {
  /** When the last one ends, or has ended, ms since the epoch. */
  readonly notAfterMs: number;
  close(): Promise<void>;
}

interface Held {
  readonly svid: Svid;
  readonly obtainedAtMs: number;
}

const heldSchema = z.object({ chainPem: z.string(), keyPem: z.string(), obtainedAtMs: z.number() });
const maxFileBytes = 262_144;

/**
 * Opens the service's own SVID: that of the last run while it is good (so that a restart needs no CA), else a fresh one. Renewed like any other, at a
 * third of its life.
 *
 * @param options.dataDir where it is kept (`own-svid.json`, 0600); undefined: nowhere
 * @throws MeshError as issuance does, when there is none of the last run
 */
export async function openOwnSvid(options: {
  readonly issuance: Issuance;
  readonly trust: TrustSource;
  readonly dataDir: string | undefined;
  readonly context: ProcessContext;
  /** How to wait; tests pass their own. */
  readonly pause?: typeof realPause;
}): Promise<OwnSvid> {
  const { issuance, trust, dataDir, context, pause = realPause } = options;
  const path = dataDir === undefined ? undefined : join(dataDir, 'own-svid.json');
  const spiffeId = issuance.idOf(identityServiceName);

  const obtain = async (): Promise<Held> => {
    const key = makeKeyPair();
    const { chainPem } = await issuance.issueOwn(identityServiceName, makeCsr(key));
    const held = { svid: svidOfPem(chainPem, privateKeyPem(key)), obtainedAtMs: context.clock() };
    const { keyPem } = held.svid;
    if (path !== undefined)
      await writeFileAtomic(path, JSON.stringify({ chainPem, keyPem, obtainedAtMs: held.obtainedAtMs }));
    return held;
  };
  const restore = async (): Promise<Held | undefined> => {
    const content = path === undefined ? undefined : await readFileBounded(path, maxFileBytes);
    if (content === undefined) return undefined;
    try {
      const { chainPem, keyPem, obtainedAtMs } = heldSchema.parse(JSON.parse(content.toString('utf8')));
      const peer = verifyChain({ chain: certificatesOfPem(chainPem), trust, nowMs: context.clock() });
      if (peer.spiffeId !== spiffeId || peer.notAfterMs <= context.clock()) return undefined;
      return { svid: svidOfPem(chainPem, keyPem), obtainedAtMs };
    } catch (err) {
      context.log.info({ err, path }, 'the own SVID of the last run is of no more use'); // a new one replaces it
      return undefined;
    }
  };

  let held = (await restore()) ?? (await obtain());
  const holder = svidHolder(held.svid);
  const closing = new AbortController();
  let wake = new AbortController();
  // The second: it was obtained while our clock was ahead. Nobody believes it before it begins.
  const isUrgent = (): boolean =>
    isToBeRenewed(held.svid, trust, context.clock()) || context.clock() < held.svid.notBeforeMs - clockSkewMs;
  const stopListening = trust.onChange(() => isUrgent() && wake.abort());
  const keep = async (): Promise<void> => {
    let failures = 0;
    for (;;) {
      const plan = renewalPlan({ obtainedAtMs: held.obtainedAtMs, notAfterMs: held.svid.notAfterMs }, context.random);
      const lifeMs = held.svid.notAfterMs - held.obtainedAtMs;
      // In short sleeps by the wall clock: a machine that slept notices.
      const untilMs = failures === 0 ? plan.dueAtMs : context.clock() + retryDelayMs(failures, lifeMs, context.random);
      while (!closing.signal.aborted && context.clock() < untilMs && !(failures === 0 && isUrgent())) {
        if (wake.signal.aborted) wake = new AbortController();
        const woken = AbortSignal.any([closing.signal, wake.signal]);
        await pause(Math.min(untilMs - context.clock(), plan.longestSleepMs), woken);
      }
      if (closing.signal.aborted) return;
      try {
        held = await obtain();
        holder.set(held.svid);
        failures = 0;
        context.log.info({ notAfter: new Date(held.svid.notAfterMs) }, 'own SVID renewed');
      } catch (err) {
        if (!isMeshError(err)) throw err;
        failures += 1;
        context.log.error({ err, notAfter: new Date(held.svid.notAfterMs) }, 'own SVID not renewed; still trying');
      }
    }
  };
  const keeping = keep();
  // A fault of ours must not be a silent end of renewing.
  keeping.catch((err: unknown) => context.log.fatal({ err }, 'renewing the own SVID has ended'));
  return {
    get current() {
      return context.clock() <= held.svid.notAfterMs ? holder.current : undefined;
    },
    get notAfterMs() {
      return held.svid.notAfterMs;
    },
    onChange: (listener) => holder.onChange(listener),
    async close() {
      stopListening();
      closing.abort();
      await keeping;
    },
  };
}
