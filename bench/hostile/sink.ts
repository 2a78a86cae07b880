/**
 * Takes whatever a hostile peer says and does nothing with it: `sink.ts PORT SVID-FILE` with TLS, `sink.ts PORT` without. What others feel of a flood that ends here is
 * the machine's doing, not a proxy's.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';

const [port, svidFile] = process.argv.slice(2);
const take = (socket: Socket): void => {
  socket.on('error', () => socket.destroy());
  socket.resume();
};
if (svidFile === undefined) {
  createServer(take).listen(Number(port), '127.0.0.1');
} else {
  const { chainPem, keyPem } = JSON.parse(readFileSync(svidFile, 'utf8')) as { chainPem: string; keyPem: string };
  createTlsServer({ cert: chainPem, key: keyPem, ALPNProtocols: ['h2', 'http/1.1'] }, take).listen(
    Number(port),
    '127.0.0.1',
  );
}
