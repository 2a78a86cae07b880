import { recordTypes } from '#runtime/dns/protocol.ts';
import { queryBytes } from '#runtime/dns/testing/query-bytes.ts';
import { loadDns } from './dns-loader.ts';

/**
 * DNS queries per second of a catalog that holds 10,000 instances of 500 services: `bin/node bench/catalog/dns.ts HTTP_URL DNS_PORT [SECONDS]` against an
 * open catalog (`selvedge dev`). One loader thread beside it, on the same cores. Prints a line for each kind of question.
 */

const services = 500;
const instancesEach = 20;

/** Registers what is asked for. */
export async function fillCatalog(url: string): Promise<void> {
  const register = async (service: number): Promise<void> => {
    for (let index = 0; index < instancesEach; index++) {
      const node = (service * instancesEach + index) % 1_000;
      const response = await fetch(`${url}/v1/catalog/register`, {
        method: 'PUT',
        body: JSON.stringify({
          Node: `node-${node}`,
          Address: `10.0.${node >> 8}.${node & 0xff}`,
          Service: { ID: `s${service}-${index}`, Service: `service-${service}`, Port: 8_000 + index },
          Check: { CheckID: `c${service}-${index}`, ServiceID: `s${service}-${index}`, Status: 'passing' },
        }),
      });
      if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
      await response.arrayBuffer();
    }
  };
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < services) await register(next++);
  };
  await Promise.all(Array.from({ length: 32 }, worker));
}

const [, , url, port, seconds = '5'] = process.argv;
if (url === undefined || port === undefined) throw new Error('bench/catalog/dns.ts HTTP_URL DNS_PORT [SECONDS]');
await fillCatalog(url);
for (const type of ['A', 'SRV'] as const) {
  const queries = Array.from({ length: services }, (_, service) =>
    queryBytes({ name: [`service-${service}`, 'service', 'consul'], type: recordTypes[type], payloadBytes: 4_096 }),
  );
  const load = { port: Number(port), queries, sockets: 8, window: 8 };
  await loadDns({ ...load, seconds: 1 });
  const result = await loadDns({ ...load, seconds: Number(seconds) });
  console.log(`${type}, ${instancesEach} records: ${JSON.stringify(result)}`);
}
