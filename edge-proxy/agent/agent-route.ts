import type { Context } from 'hono';
import { ConsulError } from '#policies/consul/consul-error.ts';
import type { Fields } from '#policies/consul/filter/fields.ts';
import { compileFilter } from '#policies/consul/filter/filter.ts';
import { parseGoDuration } from '#policies/consul/go-duration.ts';
import type { PeerEnv } from '#runtime/http-service.ts';
import type { AgentAccess, AgentOptions } from './agent-options.ts';
import type { Changes } from './changes.ts';
import type { LocalState } from './local-state.ts';
import type { Timers } from './timers.ts';

/** What the routes work with. */
export interface AgentParts extends AgentOptions {
  readonly state: LocalState;
  readonly changes: Changes;
  readonly timers: Timers;
  /** Nothing may be changed for now. */
  readOnly(): boolean;
}

export type AgentRequest = Context<{ Bindings: PeerEnv }>;
type Handler = (c: AgentRequest) => Response | Promise<Response>;

/** One path and what it answers to. */
export interface AgentRoute {
  /** Hono's pattern. */
  readonly path: string;
  readonly method: 'GET' | 'PUT' | 'POST';
  readonly handle: Handler;
}

const defaultWaitMs = 300_000;
const maxWaitMs = 600_000;
const neverSniffed = { 'x-content-type-options': 'nosniff' };

/** JSON, 200 unless said otherwise. */
export function json(value: unknown, status = 200, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(JSON.stringify(value), {
    status,
    headers: { ...headers, 'content-type': 'application/json', ...neverSniffed },
  });
}

/** Plain text: how Consul says anything that is not data. */
export function plainText(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  return new Response(text, {
    status,
    headers: { ...headers, 'content-type': 'text/plain; charset=utf-8', ...neverSniffed },
  });
}

/** What a write answers: 200 and nothing. */
export function done(): Response {
  return new Response(null, { status: 200 });
}

/** A part of the path, decoded. Throws ConsulError 400 when it is longer than any id. */
export function pathPart(c: AgentRequest, name: string): string {
  const value = c.req.param(name) ?? '';
  if (value.length > 512) throw new ConsulError(400, `The ${name} in the path is too long`);
  return value;
}

/** The body; its size was bounded by the server. */
export async function bodyOf(c: AgentRequest): Promise<Uint8Array> {
  return new Uint8Array(await c.req.arrayBuffer());
}

/** `?flag`, `?flag=true`. Throws ConsulError 400 for what Go does not read as a boolean. */
export function parseGoBoolean(text: string, name: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
  throw new ConsulError(400, `Invalid value for ${name}: ${JSON.stringify(text.slice(0, 64))}`);
}

/** Lets pass whoever shows the token that is asked for. Throws ConsulError 403. */
export function requireToken(access: AgentAccess, c: AgentRequest): void {
  if (access.kind === 'open') return;
  if (!access.check(presentedToken(c)))
    throw new ConsulError(403, 'Permission denied: the agent needs a token (X-Consul-Token)');
}

/** @returns the token of a request, good or not, in each of the three places where Consul's clients put it */
export function presentedToken(c: AgentRequest): string | undefined {
  const bearer = /^Bearer +(\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
  return c.req.header('x-consul-token') || bearer || c.req.query('token') || undefined;
}

/** `?wait`, in milliseconds: five minutes unless said, ten at most. Throws ConsulError 400. */
export function parseWait(text: string): number {
  if (text === '') return defaultWaitMs;
  const ns = parseGoDuration(text);
  if (ns === undefined || ns < 0) throw new ConsulError(400, 'Invalid wait time');
  return ns === 0 ? defaultWaitMs : Math.min(ns / 1e6, maxWaitMs);
}

/** What of a map by id passes `?filter=`. Throws ConsulError 400 in go-bexpr's words. */
export function filtered<T>(
  c: AgentRequest,
  fields: Fields,
  entries: Iterable<readonly [string, T]>,
): Record<string, T> {
  const passes = compileFilter(c.req.query('filter') ?? '', fields);
  return Object.fromEntries([...entries].filter(([, thing]) => passes(thing)));
}
