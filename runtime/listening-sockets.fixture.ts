/** Listens at the addresses of its arguments with the sockets that it was started with, and answers each connection with its pid. */
import { createServer } from 'node:net';
import { ListeningSockets } from './listening-sockets.ts';
import { createLogger } from './logging.ts';
import { parseSocketAddress } from './socket-address.ts';

const [count = '0', ...addresses] = process.argv.slice(2);
const sockets = new ListeningSockets(Number(count));
for (const address of addresses) {
  await sockets.listen(
    createServer((socket) => socket.end(`${process.pid}\n`)),
    parseSocketAddress(address),
  );
}
sockets.tellUnused(createLogger({ process: 'test', level: 'info' }));
process.stdout.write(`listening ${sockets.descriptors.length}\n`);
