import type { Context, Hono } from 'hono';
import { ConsulError } from '#policies/consul/consul-error.ts';
import type { PeerEnv } from '#runtime/http-service.ts';
import { readyResponse } from '#runtime/ready-response.ts';
import type { Caller } from '../access/caller.ts';
import { urlOf } from '../access/request-url.ts';

/** What hono carries for each request of the catalog: the connection, and who calls. */
export interface CatalogEnv {
  Bindings: PeerEnv;
  Variables: { caller: Caller };
}
export type CatalogRequest = Context<CatalogEnv>;
export type Handler = (request: CatalogRequest) => Response | Promise<Response>;

/** One path and what it answers to. */
export interface Route {
  /** Hono's pattern: `/v1/catalog/service/:name`. */
  readonly path: string;
  readonly methods: Partial<Readonly<Record<'GET' | 'PUT' | 'POST' | 'DELETE', Handler>>>;
  /** Consul's text for the path without its last part. */
  readonly missing?: string;
}

/** Mounts routes the way Consul answers: OPTIONS and 405 tell what is allowed, a path that ends before its name is a 400. */
export function mountRoutes(app: Hono<CatalogEnv>, routes: readonly Route[]): void {
  for (const { path, methods, missing } of routes) {
    const allow = ['OPTIONS', ...Object.keys(methods)].join(',');
    for (const [method, handler] of Object.entries(methods)) app.on(method, path, handler);
    app.options(path, () => new Response(null, { status: 200, headers: { allow } }));
    app.all(path, (c) => plainText(405, `method ${c.req.method} not allowed`, { allow }));
    if (missing === undefined) continue;
    app.all(path.slice(0, path.lastIndexOf(':')), () => {
      throw new ConsulError(400, missing);
    });
  }
}

/** An answer in plain text: how Consul says anything that is not data. */
export function plainText(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Response {
  return readyResponse(status, encoder.encode(text), {
    ...headers,
    'content-type': 'text/plain; charset=utf-8',
    ...neverSniffed,
  });
}

/** A JSON answer to a write: `true`, mostly. */
export function jsonAnswer(value: unknown, headers: Readonly<Record<string, string>> = {}, status = 200): Response {
  return readyResponse(status, encoder.encode(JSON.stringify(value)), {
    ...headers,
    'content-type': 'application/json',
    ...neverSniffed,
  });
}

const encoder = new TextEncoder();
const neverSniffed = { 'x-content-type-options': 'nosniff' };

/** @returns a part of the path, decoded and bounded: no name in the catalog is longer */
export function pathName(c: CatalogRequest, name: string): string {
  const value = c.req.param(name) ?? '';
  if (value.length > 512) throw new ConsulError(400, `The ${name} in the path is too long`);
  return value;
}

/** @returns the query as it was sent; not to be changed */
export function queryOf(c: CatalogRequest): URLSearchParams {
  return urlOf(c.req.raw).searchParams;
}

/** @returns the body; its size was limited before */
export async function bodyOf(c: CatalogRequest): Promise<Uint8Array> {
  return new Uint8Array(await c.req.arrayBuffer());
}
