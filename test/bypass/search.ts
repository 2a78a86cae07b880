import fc from 'fast-check';
import { disguises, hidesOnly } from '#policies/disguises.fixture.ts';
import {
  allNormalizations,
  defaults,
  intentionOf,
  plainPaths,
  plainValues,
  requestOf,
} from '#policies/generated-policies.fixture.ts';
import type { Intention } from '#policies/intention.ts';
import { allows } from '#policies/requests.fixture.ts';
import { Mesh } from '../sidecars.ts';
import { applications, type WayIn } from './ways-in.ts';

/** Policies, requests without disguise, and what the service lets pass. */
export const plainCases = fc.record({
  policy: fc.uniqueArray(intentionOf(plainPaths, plainValues), {
    maxLength: 4,
    selector: ({ source, destination }) => `${source} ${destination}`,
  }),
  request: requestOf(plainPaths, plainValues),
  defaultAction: defaults,
  words: fc.constantFrom(...allNormalizations),
});

/** How much a search has seen. */
export interface SearchTally {
  policies: number;
  allowed: number;
  denied: number;
  /** Disguised requests, none of which reached the application. */
  disguised: number;
}

/**
 * Searches on one way to a service, until the time is over, for a disguise in which a request that the policy denies reaches the application. Also: what the proxies
 * do with the plain request is what the evaluator says.
 *
 * @throws Error with the smallest policy and request for which there is one
 */
export async function searchWayIn(
  wayIn: WayIn,
  { seed, durationMs }: { readonly seed: number; readonly durationMs: number },
): Promise<SearchTally> {
  const { protocol } = wayIn;
  const untilMs = performance.now() + durationMs;
  const { httpProxy } = wayIn;
  const mesh = new Mesh({ applications: [applications[protocol]()], protocol, ...(httpProxy ? { httpProxy } : {}) });
  await mesh.start();
  const asker = await wayIn.open(mesh);
  mesh.defer(() => asker.close());
  const tally: SearchTally = { policies: 0, allowed: 0, denied: 0, disguised: 0 };
  try {
    const property = fc.asyncProperty(plainCases, async ({ policy, request: asked, defaultAction, words }) => {
      const request = { ...asked, method: wayIn.method ?? asked.method };
      feed(mesh, protocol, policy, defaultAction);
      const { escapedSlashes, underscores } = words;
      mesh.feedNormalization({
        ...(escapedSlashes === 'REJECT_REQUEST' ? {} : { escapedSlashes }),
        ...(underscores === 'REJECT_REQUEST' ? {} : { underscores }),
      });
      const allowed = await asker.ask(request);
      const said = allows(policy, defaultAction, request);
      if (allowed !== said) throw new Error(`the evaluator says ${said}, the proxies ${allowed}`);
      tally.policies += 1;
      tally[allowed ? 'allowed' : 'denied'] += 1;
      if (allowed) return;
      const hidden = Object.entries(disguises).filter(([name]) => hidesOnly(name, policy, request, words));
      await Promise.all(
        hidden.map(async ([name, disguise]) => {
          tally.disguised += 1;
          if (await asker.ask(disguise(request))) throw new Error(`wider by ${name}`);
        }),
      );
      mesh.log.length = 0; // of long runs it would be all memory
    });
    // In batches: a run that is interrupted would go on behind our back.
    let round = 0;
    do await fc.assert(property, { seed: seed + round++, numRuns: 10 });
    while (performance.now() < untilMs);
  } finally {
    asker.close();
    await mesh.close();
  }
  return tally;
}

function feed(mesh: Mesh, protocol: WayIn['protocol'], policy: readonly Intention[], defaultAction: 'allow' | 'deny') {
  const resource = { kind: 'intentions', name: 'db', protocol, defaultAction, intentions: policy };
  mesh.feed(mesh.db.sidecar, [resource as Parameters<Mesh['feed']>[1][number]]);
}
