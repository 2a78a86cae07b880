import { ConsulError } from '#policies/consul/consul-error.ts';
import { ConsulCa, consulLeaf } from '#runtime/consul-ca.ts';
import type { Svid, SvidSource } from '#runtime/svid/svid.ts';
import {
  type AgentParts,
  type AgentRequest,
  type AgentRoute,
  parseWait,
  pathPart,
  requireToken,
} from './agent-route.ts';

const notEnabled = 'Connect must be enabled in order to use this endpoint: this agent has no identity';

/**
 * `/v1/agent/connect/ca`: the roots, and the SVIDs of this host's services with their keys, as Consul's clients take them. Blocking with `?index`, until a root
 * or the leaf changes.
 */
export function caRoutes(parts: AgentParts): AgentRoute[] {
  const { ca } = parts;
  const roots = ca === undefined ? undefined : new ConsulCa(ca.bundle);
  const leaves = new Map<string, { readonly svid: Svid; readonly index: number }>();

  /** The leaf in use and its index: when it began, so that it grows over restarts too. */
  const leafOf = (service: string, source: SvidSource): { svid: Svid; index: number } => {
    const svid = source.current;
    if (svid === undefined) throw new ConsulError(500, `There is no SVID of ${service} now; the log says why`);
    const before = leaves.get(service);
    if (before?.svid === svid) return before;
    const leaf = { svid, index: Math.max(1, (before?.index ?? 0) + 1, Math.floor(svid.notBeforeMs / 1_000)) };
    leaves.set(service, leaf);
    return leaf;
  };

  return [
    {
      path: '/v1/agent/connect/ca/roots',
      method: 'GET',
      handle: async (c) => {
        const read = async () => {
          const now = await roots?.roots();
          if (now === undefined) throw new ConsulError(500, notEnabled);
          return now;
        };
        const now = await readBlocking(c, parts, read, (wake) => roots?.onChange(wake) ?? (() => undefined));
        return answer(now.json(parts.context.clock(), indentOf(c)), now.index);
      },
    },
    {
      path: '/v1/agent/connect/ca/leaf/:service',
      method: 'GET',
      handle: async (c) => {
        if (ca === undefined) throw new ConsulError(500, notEnabled);
        requireToken(ca.leafAccess, c);
        const service = pathPart(c, 'service');
        const source = await ca.svid(service);
        if (source === undefined)
          throw new ConsulError(403, `Permission denied: this agent has no identity of ${JSON.stringify(service)}`);
        const read = async () => leafOf(service, source);
        const { svid, index } = await readBlocking(c, parts, read, (wake) => source.onChange(wake));
        return answer(consulLeaf(service, svid, index, indentOf(c)), index);
      },
    },
  ];
}

/** Reads, and with `?index` reads again at each change until the index is above it or the wait is over. */
async function readBlocking<T extends { readonly index: number }>(
  c: AgentRequest,
  { timers, context, changes }: AgentParts,
  read: () => Promise<T>,
  watch: (wake: () => void) => () => void,
): Promise<T> {
  const asked = indexOf(c);
  const waitMs = parseWait(c.req.query('wait') ?? '');
  const first = await read();
  if (asked === 0 || first.index > asked) return first;
  const over = new AbortController();
  const signal = AbortSignal.any([over.signal, c.req.raw.signal]);
  let wake = Promise.withResolvers<void>();
  const stopWatching = watch(() => wake.resolve());
  signal.addEventListener('abort', () => wake.resolve());
  const cancel = timers.after(waitMs * (1 + context.random() / 16), () => over.abort());
  // Of what the agent itself shows nothing concerns us but its end.
  const ended = (async () => {
    while (!changes.ended && !signal.aborted) await changes.next(signal);
    over.abort();
  })();
  try {
    for (;;) {
      const now = await read();
      if (now.index > asked || signal.aborted) return now;
      await wake.promise;
      wake = Promise.withResolvers<void>();
    }
  } finally {
    over.abort();
    cancel();
    stopWatching();
    await ended;
  }
}

function indexOf(c: AgentRequest): number {
  const text = c.req.query('index') ?? '';
  if (text === '') return 0;
  if (!/^\d{1,20}$/.test(text)) throw new ConsulError(400, 'Invalid index');
  return Number(text);
}

function indentOf(c: AgentRequest): number | undefined {
  return c.req.query('pretty') === undefined ? undefined : 4;
}

/** LastContact comes always: without it Consul's Go client drops the headers that follow. Of the agent's own cache, as at Consul's; a leaf is for nobody else's. */
function answer(json: string, index: number): Response {
  return new Response(json, {
    headers: {
      'content-type': 'application/json',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'x-consul-index': String(index),
      'x-consul-knownleader': 'true',
      'x-consul-lastcontact': '0',
      'x-cache': 'HIT',
      age: '0',
    },
  });
}
