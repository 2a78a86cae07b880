import { createServer, request } from 'node:http';
import { parseArgs } from 'node:util';

/**
 * The two applications of the demo. Nothing in them knows of the mesh: `db` serves orders over plain HTTP on loopback, `web` calls `db` at a local address.
 * Run as `applications.ts db` and `applications.ts web --upstream http://127.0.0.1:5000`.
 */
const { positionals, values } = parseArgs({ allowPositionals: true, options: { upstream: { type: 'string' } } });

/** `db`: GET /orders, DELETE /orders, GET /ticks (a line every 100 ms, for ever). `/control/…` is for the demo, which calls it directly. */
function db(): void {
  const orders = ['coffee', 'bread'];
  let failing = false;
  let received = 0;
  const server = createServer((incoming, outgoing) => {
    const { pathname } = new URL(incoming.url ?? '/', 'http://db');
    if (pathname === '/control/fail' || pathname === '/control/heal') {
      failing = pathname.endsWith('fail');
      outgoing.end('ok\n');
      return;
    }
    if (pathname === '/control/received') {
      outgoing.end(String(received));
      return;
    }
    received += 1;
    if (failing) {
      outgoing.writeHead(503).end('db is out of order\n');
      return;
    }
    if (pathname === '/ticks') {
      outgoing.writeHead(200, { 'content-type': 'text/plain' });
      const timer = setInterval(() => outgoing.write('tick\n'), 100);
      outgoing.once('close', () => clearInterval(timer));
      return;
    }
    if (pathname === '/orders') {
      // Who calls: the edge proxy says so, from the certificate that it verified.
      outgoing.setHeader('content-type', 'application/json');
      outgoing.end(JSON.stringify({ orders, caller: incoming.headers['selvedge-source'] ?? null }));
      return;
    }
    outgoing.writeHead(404).end('no such page\n');
  });
  listen(server);
}

/** `web`: `/call?method=GET&path=/orders` makes that call to `db` and tells what came back; `/ticks` tells when the stream of db's ticks ended. */
function web(upstream: string): void {
  const server = createServer((incoming, outgoing) => {
    const url = new URL(incoming.url ?? '/', 'http://web');
    const startedMs = Date.now();
    const method = url.searchParams.get('method') ?? 'GET';
    const path = url.pathname === '/ticks' ? '/ticks' : (url.searchParams.get('path') ?? '/');
    const answer = (value: object): void => {
      if (!outgoing.writableEnded)
        outgoing.end(JSON.stringify({ ms: Date.now() - startedMs, endedAtMs: Date.now(), ...value }));
    };
    const chunks: Buffer[] = [];
    const call = request(`${upstream}${path}`, { method }, (response) => {
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        if (url.pathname === '/ticks' && chunks.length === 1) outgoing.write('\n'); // tells the demo that the stream is open
      });
      response.on('error', (error: NodeJS.ErrnoException) =>
        answer({ cut: error.code ?? error.message, ticks: chunks.length }),
      );
      response.on('end', () =>
        answer({
          status: response.statusCode,
          decision: response.headers['selvedge-decision'] ?? null,
          body: Buffer.concat(chunks).toString('utf8'),
        }),
      );
    });
    call.on('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code ?? error.message;
      // A connection reset in the midst of an answer is told here (node:http), one that failed before it too.
      answer(chunks.length > 0 ? { cut: reason, ticks: chunks.length } : { error: reason });
    });
    call.end();
  });
  listen(server);
}

function listen(server: ReturnType<typeof createServer>): void {
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1', () => {
    const bound = server.address();
    process.stdout.write(`listening 127.0.0.1:${typeof bound === 'object' && bound !== null ? bound.port : 0}\n`);
  });
  process.on('SIGTERM', () => process.exit(0));
}

if (positionals[0] === 'db') db();
else if (positionals[0] === 'web' && values.upstream !== undefined) web(values.upstream);
else throw new Error('usage: applications.ts db | applications.ts web --upstream URL');
