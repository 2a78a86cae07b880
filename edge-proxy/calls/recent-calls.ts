import type { Verdict } from '#policies/intention-decision.ts';
import { pathTemplate } from '#policies/path-template.ts';
import {
  maxCallLines,
  maxCallPathLength,
  type RecentCall,
  type RecentCallsReport,
} from '#policies/wire/recent-calls.ts';

/** Sources that are told apart, and paths of each, between two reports. What comes beyond is counted as missed. */
const maxSources = 128;
const maxPaths = 256;

/** Calls of one method to one path. Of a path that is called by several methods, one behind the other. */
interface Calls {
  readonly method: string;
  allowed: number;
  denied: number;
  observed: number;
  next: Calls | undefined;
}

/** What one source has called since the last report. */
export class SourceCalls {
  missed = 0;
  #byPath = new Map<string, Calls>();

  /** On the path of each request: one look-up, and nothing is made but at the first call of its kind. @param path canonical */
  note(method: string, path: string, verdict: Verdict): void {
    const calls = this.#byPath.get(path);
    if (calls !== undefined) {
      for (let at: Calls | undefined = calls; at !== undefined; at = at.next) {
        if (at.method === method) {
          count(at, verdict);
          return;
        }
      }
    }
    this.#first(method, path, verdict, calls);
  }

  /** @returns the calls by the shape of their paths; from here on it counts anew */
  take(source: string): RecentCall[] {
    const folded = new Map<string, RecentCall>();
    for (const [path, first] of this.#byPath) {
      const template = pathTemplate(path);
      for (let at: Calls | undefined = first; at !== undefined; at = at.next) {
        const { method, allowed, denied, observed } = at;
        const key = `${method} ${template}`;
        const held = folded.get(key) ?? { source, method, template, example: path, allowed: 0, denied: 0, observed: 0 };
        folded.set(key, {
          ...held,
          allowed: held.allowed + allowed,
          denied: held.denied + denied,
          observed: held.observed + observed,
        });
      }
    }
    this.#byPath = new Map();
    return [...folded.values()];
  }

  #first(method: string, path: string, verdict: Verdict, others: Calls | undefined): void {
    if (
      this.#byPath.size >= maxPaths ||
      path.length > maxCallPathLength ||
      method.length > 32 ||
      chainOf(others) >= 8
    ) {
      this.missed += 1;
      return;
    }
    const calls: Calls = { method, allowed: 0, denied: 0, observed: 0, next: others };
    count(calls, verdict);
    this.#byPath.set(path, calls);
  }
}

/** Who has called the local service how, since that was last told to the catalog: policies/wire/recent-calls.ts. */
export class RecentCalls {
  readonly #bySource = new Map<string, SourceCalls>();
  /** Of those who are no service of the mesh, and of sources beyond the limit: counted only. */
  readonly #others = new SourceCalls();

  /** @param source undefined: no service of this trust domain */
  from(source: string | undefined): SourceCalls {
    if (source === undefined) return this.#others;
    const known = this.#bySource.get(source);
    if (known !== undefined) return known;
    if (this.#bySource.size >= maxSources) return this.#others;
    const made = new SourceCalls();
    this.#bySource.set(source, made);
    return made;
  }

  /** @returns what is to be told; undefined: nothing. From here on it counts anew */
  take(service: string): RecentCallsReport | undefined {
    const calls: RecentCall[] = [];
    // Who they are is not told: of them, nothing can be previewed.
    this.#others.take('');
    let missed = this.#others.missed;
    this.#others.missed = 0;
    for (const [source, own] of this.#bySource) {
      missed += own.missed;
      own.missed = 0;
      for (const call of own.take(source)) {
        if (calls.length < maxCallLines) calls.push(call);
        else missed += call.allowed + call.denied + call.observed;
      }
    }
    return calls.length === 0 ? undefined : { service, calls, missed };
  }
}

function count(calls: Calls, { allowed, observed }: Verdict): void {
  if (!allowed) calls.denied += 1;
  else if (observed === undefined) calls.allowed += 1;
  else calls.observed += 1;
}

function chainOf(calls: Calls | undefined): number {
  let length = 0;
  for (let at = calls; at !== undefined; at = at.next) length += 1;
  return length;
}
