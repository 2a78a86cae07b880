import { createServer } from 'node:net';
import { acceptTunnel } from '#edge-proxy/tunnel/socket-tunnel.ts';

/**
 * The accepting end of a tunnel on plain TCP, for h2spec: `bin/node test/h2spec/server.ts [PORT]`, then `h2spec -h 127.0.0.1 -p PORT --strict`.
 * h2spec asks with GET and POST, so any method is offered here; the answer is 200 with a short body once the request has ended, as an origin would do.
 */
const server = createServer((socket) => {
  acceptTunnel({
    socket,
    requests: true,
    handlers: {
      onStream(stream, request) {
        const declared = request.headers.find(([name]) => name === 'content-length')?.[1];
        let received = 0;
        stream.handlers = {
          onData(chunk) {
            received += chunk.length;
          },
          onEnd() {
            // CONNECT has no content, so its length is not the tunnel's business: an origin checks it.
            if (declared !== undefined && Number(declared) !== received) {
              stream.reset('protocol');
              return;
            }
            stream.write('A short body.');
            stream.end();
          },
          onReset() {},
          onDrain() {},
        };
        stream.accept([['content-type', 'text/plain']]);
      },
      onClose() {},
    },
  });
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const address = server.address();
  if (address !== null && typeof address === 'object') process.stdout.write(`${address.port}\n`);
});
