import { MeshError } from '#policies/errors/mesh-error.ts';
import { type HttpAnswer, writeAnswer } from '#runtime/http-answer.ts';
import type { AskedHttp } from '#runtime/http-server.ts';
import type { Logger } from '#runtime/logging.ts';
import { problemAnswer } from '#runtime/problem.ts';
import { isAskedAsLoopback } from '#runtime/socket-address.ts';

/** What is asked of the admin API. */
export interface AdminQuestion {
  readonly url: URL;
  /** The web page that asks; undefined: none does. */
  readonly origin: string | undefined;
  /** What stands for `*` in the route's path. */
  readonly rest: string;
}

/** By method and path, `GET /decisions`; the last part of a path may be `*`. HEAD is GET without a body. */
export type AdminRoutes = Readonly<Record<string, (asked: AdminQuestion) => HttpAnswer | Promise<HttpAnswer>>>;

/**
 * The routes as what listenHttp calls. A dozen routes need no framework: with Hono, and undici for the Response that it answers with, the admin API would be a tenth
 * of an idle proxy's memory.
 */
export function answerAdmin(routes: AdminRoutes, log: Logger): (asked: AskedHttp) => Promise<void> {
  return async ({ incoming, outgoing }) => {
    const { method = '', headers } = incoming;
    let answer: HttpAnswer;
    try {
      const url = urlOf(incoming.url, headers.host);
      if (!isAskedAsLoopback(url.href))
        throw new MeshError('SLV-1009', 'The admin API is asked as localhost, 127.0.0.1 or [::1].');
      const { route, rest } = find(routes, method === 'HEAD' ? 'GET' : method, url.pathname);
      answer = await route({ url, origin: headers.origin, rest });
    } catch (error) {
      answer = problemAnswer(error, log);
    }
    writeAnswer(outgoing, answer);
  };
}

function urlOf(target: string | undefined, host: string | undefined): URL {
  const url = host === undefined ? null : URL.parse(target ?? '/', `http://${host}`);
  if (url === null) throw new MeshError('SLV-1009', 'The request is malformed.');
  return url;
}

function find(routes: AdminRoutes, method: string, path: string) {
  const slash = path.lastIndexOf('/') + 1;
  const [exact, any] = [`${method} ${path}`, `${method} ${path.slice(0, slash)}*`];
  const key = [exact, any].find((each) => Object.hasOwn(routes, each));
  const route = key === undefined ? undefined : routes[key];
  if (route === undefined) throw new MeshError('SLV-1010', `${method} ${path.slice(0, 200)} is not served here`);
  return { route, rest: path.slice(slash) };
}
