import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Clock } from '#runtime/clock.ts';
import { jsonAnswer } from '#runtime/http-answer.ts';
import type { Logger } from '#runtime/logging.ts';
import type { AdminQuestion, AdminRoutes } from './admin-routes.ts';
import type { ForcedState } from './forced-breakers.ts';
import type { Breaker } from './resilience/breaker.ts';
import type { Sidecar } from './sidecar.ts';

/** What an operator may do to breakers. Open and closed hold until reset, through restarts too where the proxy keeps state. */
const actions = { 'force-open': 'open', 'force-closed': 'closed', reset: 'free' } as const;

/** `GET /breakers`, and `POST /breakers/force-open|force-closed|reset?target=v2.db[&endpoint=node/db][&service=web]`. */
export function breakerRoutes(sidecars: readonly Sidecar[], clock: Clock, log: Logger): AdminRoutes {
  const act = (action: keyof typeof actions) => async (question: AdminQuestion) => {
    refusePages(question);
    const asked = wanted(question, sidecars);
    const { target, endpoint } = asked;
    if (target === undefined) throw new MeshError('SLV-1009', 'Say whose breakers: ?target=NAME.');
    const of = asked.sidecars.filter((sidecar) => knows(sidecar, target, endpoint));
    if (of.length === 0) throw new MeshError('SLV-1010', nobody(asked));
    const kept = await Promise.all(of.map((sidecar) => set(sidecar, target, endpoint, actions[action])));
    const outlives = kept.every((one) => one);
    log.warn({ audit: `breaker-${action}`, target, endpoint, outlives }, 'breakers set by an operator');
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
  readonly target: string | undefined;
  readonly endpoint: string | undefined;
}

const parameters: readonly string[] = ['service', 'target', 'endpoint'];

/** A parameter that is misspelt would mean more breakers than were meant. @throws MeshError SLV-1009 */
function wanted({ url: { searchParams } }: AdminQuestion, all: readonly Sidecar[]): Wanted {
  for (const name of searchParams.keys()) {
    const values = searchParams.getAll(name);
    if (!parameters.includes(name) || values.length > 1 || values[0] === '')
      throw new MeshError('SLV-1009', `Breakers are named by one each of ${parameters.join(', ')}, not by ${name}.`);
  }
  const [service, target, endpoint] = parameters.map((name) => searchParams.get(name) ?? undefined);
  const sidecars = all.filter(({ config }) => service === undefined || config.service === service);
  return { sidecars, service, target, endpoint };
}

/** Whether there is something to be set: a target whole, one of its instances, or one that is not there now and is held. */
function knows({ forcedBreakers, targets }: Sidecar, target: string, endpoint: string | undefined): boolean {
  const isIt = (one: { readonly target: string; readonly endpoint: string | undefined }): boolean =>
    one.target === target && (endpoint === undefined || one.endpoint === endpoint);
  return (
    forcedBreakers.all.some(isIt) || targets.breakers.some(isIt) || (endpoint === undefined && targets.has(target))
  );
}

function set(
  { targets, forcedBreakers }: Sidecar,
  target: string,
  endpoint: string | undefined,
  state: ForcedState['state'] | 'free',
): Promise<boolean> {
  const kept = forcedBreakers.set(target, endpoint, state);
  for (const one of targets.breakers) {
    if (one.target !== target || (endpoint !== undefined && endpoint !== one.endpoint)) continue;
    const held = forcedBreakers.of(target, one.endpoint);
    if (held === undefined) one.breaker.reset();
    else one.breaker.force(held.state, held.sinceMs);
  }
  return kept;
}

/** Each breaker, and what is held of instances that are not there now. */
function shown({ sidecars, target, endpoint }: Wanted, nowMs: number): object[] {
  return sidecars.flatMap(({ config: { service }, targets, forcedBreakers }) => {
    const there = targets.breakers.map((one) => ({ ...one, view: view(one.breaker, nowMs) }));
    const gone = forcedBreakers.all
      .filter((held) => !there.some((one) => one.target === held.target && one.endpoint === held.endpoint))
      .map((held) => ({
        target: held.target,
        endpoint: held.endpoint ?? '*',
        view: { state: held.state, forced: true, ...ageOf(held, nowMs) },
      }));
    return [...there, ...gone]
      .filter((one) => target === undefined || one.target === target)
      .filter((one) => endpoint === undefined || one.endpoint === endpoint)
      .map((one) => ({ service, target: one.target, endpoint: one.endpoint, ...one.view }));
  });
}

function view(breaker: Breaker, nowMs: number): object {
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
function nobody({ sidecars, service, target = '', endpoint }: Wanted): string {
  if (sidecars.length === 0) return `This proxy does not stand for ${service}.`;
  const all = sidecars.flatMap(({ targets }) => targets.breakers);
  const there = all.filter((one) => one.target === target).map((one) => one.endpoint);
  if (endpoint !== undefined && there.length > 0)
    return `No breaker of ${target} is of ${endpoint}; it has ${some(there)}.`;
  const [routed] = sidecars.flatMap(({ upstreams }) => upstreams).filter(({ name }) => name === target);
  if (routed !== undefined) return `Calls of ${target} go to ${some(routed.targets)}: name that.`;
  return `No breaker here is of a target ${target}; there is ${some(all.map((one) => one.target))}.`;
}

function some(names: readonly string[]): string {
  if (names.length === 0) return 'none';
  return [...new Set(names)].slice(0, 10).join(', ') + (names.length > 10 ? ' …' : '');
}

/** The admin API has no authentication: a page in a browser of this host must not set anything. Under a name of its own it is kept out of all (`admin.ts`). */
function refusePages({ origin }: AdminQuestion): void {
  if (origin !== undefined) throw new MeshError('SLV-1009', 'Web pages may not set breakers.');
}
