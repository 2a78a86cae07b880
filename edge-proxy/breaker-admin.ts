import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import { jsonAnswer } from '#runtime/http-answer.ts';
import type { Logger } from '#runtime/logging.ts';
import type { AdminQuestion, AdminRoutes } from './admin-routes.ts';
import type { ForcedState } from './forced-breakers.ts';
import type { Endpoint } from './outbound/endpoint.ts';
import type { Sidecar } from './sidecar.ts';

/** What an operator may do to breakers. Open and closed hold until reset, through restarts too where the proxy keeps state. */
const actions = { 'force-open': 'open', 'force-closed': 'closed', reset: 'free' } as const;

/** `GET /breakers`, and `POST /breakers/force-open|force-closed|reset?upstream=db[&endpoint=node/db][&service=web]`. */
export function breakerRoutes(sidecars: readonly Sidecar[], clock: Clock, log: Logger): AdminRoutes {
  const act = (action: keyof typeof actions) => async (question: AdminQuestion) => {
    refusePages(question);
    const asked = wanted(question, sidecars);
    const { upstream, endpoint } = asked;
    if (upstream === undefined) throw new MeshError('SLV-1009', 'Say whose breakers: ?upstream=NAME.');
    const of = asked.sidecars.filter((sidecar) => knows(sidecar, upstream, endpoint));
    if (of.length === 0) throw new MeshError('SLV-1010', nobody(asked));
    const kept = await Promise.all(of.map((sidecar) => set(sidecar, upstream, endpoint, actions[action])));
    const outlives = kept.every((one) => one);
    log.warn({ audit: `breaker-${action}`, upstream, endpoint, outlives }, 'breakers set by an operator');
    const answer = jsonAnswer(shown({ ...asked, sidecars: of }, clock()));
    return { ...answer, headers: { ...answer.headers, 'selvedge-outlives-restart': String(outlives) } };
  };
  return {
    'GET /breakers': (question) => jsonAnswer(shown(wanted(question, sidecars), clock())),
    'POST /breakers/force-open': act('force-open'),
    'POST /breakers/force-closed': act('force-closed'),
    'POST /breakers/reset': act('reset'),
  };
}

interface Wanted {
  /** Those of the service that was named, or all. */
  readonly sidecars: readonly Sidecar[];
  readonly service: string | undefined;
  readonly upstream: string | undefined;
  readonly endpoint: string | undefined;
}

const parameters: readonly string[] = ['service', 'upstream', 'endpoint'];

/** A parameter that is misspelt would mean more breakers than were meant. @throws MeshError SLV-1009 */
function wanted({ url: { searchParams } }: AdminQuestion, all: readonly Sidecar[]): Wanted {
  for (const name of searchParams.keys()) {
    const values = searchParams.getAll(name);
    if (!parameters.includes(name) || values.length > 1 || values[0] === '')
      throw new MeshError('SLV-1009', `Breakers are named by one each of ${parameters.join(', ')}, not by ${name}.`);
  }
  const [service, upstream, endpoint] = parameters.map((name) => searchParams.get(name) ?? undefined);
  const sidecars = all.filter(({ config }) => service === undefined || config.service === service);
  return { sidecars, service, upstream, endpoint };
}

/** Whether there is something to be set: an upstream whole, one of its instances, or one that is not there now and is held. */
function knows(sidecar: Sidecar, upstream: string, endpoint: string | undefined): boolean {
  const held = sidecar.forcedBreakers.all.some(
    (one) => one.upstream === upstream && (endpoint === undefined || one.endpoint === endpoint),
  );
  const found = sidecar.upstreams.filter(({ name }) => name === upstream);
  return held || found.some(({ endpoints }) => endpoint === undefined || endpoints.some(({ id }) => id === endpoint));
}

function set(
  { upstreams, forcedBreakers }: Sidecar,
  upstream: string,
  endpoint: string | undefined,
  state: ForcedState['state'] | 'free',
): Promise<boolean> {
  const kept = forcedBreakers.set(upstream, endpoint, state);
  for (const { name, endpoints } of upstreams) {
    if (name !== upstream) continue;
    for (const { id, breaker } of endpoints) {
      if (endpoint !== undefined && endpoint !== id) continue;
      const held = forcedBreakers.of(name, id);
      if (held === undefined) breaker.reset();
      else breaker.force(held.state, held.sinceMs);
    }
  }
  return kept;
}

/** Each breaker, and what is held of instances that are not there now. */
function shown({ sidecars, upstream, endpoint }: Wanted, nowMs: number): object[] {
  return sidecars.flatMap(({ config: { service }, upstreams, forcedBreakers }) => {
    const there = upstreams.flatMap(({ name, endpoints }) =>
      endpoints.map((each) => ({ upstream: name, endpoint: each.id, view: view(each, nowMs) })),
    );
    const gone = forcedBreakers.all
      .filter((held) => !there.some((one) => one.upstream === held.upstream && one.endpoint === held.endpoint))
      .map((held) => ({
        upstream: held.upstream,
        endpoint: held.endpoint ?? '*',
        view: { state: held.state, forced: true, ...ageOf(held, nowMs) },
      }));
    return [...there, ...gone]
      .filter((one) => upstream === undefined || one.upstream === upstream)
      .filter((one) => endpoint === undefined || one.endpoint === endpoint)
      .map((one) => ({ service, upstream: one.upstream, endpoint: one.endpoint, ...one.view }));
  });
}

function view({ breaker }: Endpoint, nowMs: number): object {
  const { forcedSinceMs, ...snapshot } = breaker.snapshot();
  return { ...snapshot, ...(forcedSinceMs === null ? {} : ageOf({ sinceMs: forcedSinceMs }, nowMs)) };
}

function ageOf({ sinceMs }: Pick<ForcedState, 'sinceMs'>, nowMs: number): object {
  return {
    forcedSince: new Date(sinceMs).toISOString(),
    forcedSeconds: forcedSeconds(sinceMs, nowMs),
  };
}

/** For how long something has been forced; a clock that was set back makes it no less than 0. */
export function forcedSeconds(sinceMs: number, nowMs: number): number {
  return Math.max(0, Math.round((nowMs - sinceMs) / 1_000));
}

/** Why nothing was set: what was asked for, and what there is. */
function nobody({ sidecars, service, upstream = '', endpoint }: Wanted): string {
  if (sidecars.length === 0) return `This proxy does not stand for ${service}.`;
  const of = sidecars.flatMap(({ upstreams }) => upstreams).filter(({ name }) => name === upstream);
  const there = of.flatMap(({ endpoints }) => endpoints.map(({ id }) => id));
  if (of.length > 0) return `No breaker of ${upstream} is of ${endpoint}; it has ${some(there)}.`;
  return `No breaker here is of an upstream ${upstream}; there is ${some(sidecars.flatMap((one) => one.upstreams.map(({ name }) => name)))}.`;
}

function some(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  return [...new Set(names)].slice(0, 10).join(', ') + (names.length > 10 ? ' …' : '');
}

/** The admin API has no authentication: a page in a browser of this host must not set anything. Under a name of its own it is kept out of all (`admin.ts`). */
function refusePages({ origin }: AdminQuestion): void {
  if (origin !== undefined) throw new MeshError('SLV-1009', 'Web pages may not set breakers.');
}
