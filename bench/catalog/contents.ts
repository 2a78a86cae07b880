import { Agent, request } from 'node:http';

/** What the measured catalog holds: 10,000 instances of 500 services on 1,000 nodes. */
export const services = 500;
export const instancesEach = 20;
const nodes = 1_000;

/** Kept connections for as many callers as there are. */
const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 256 });

/** Sends one request to the catalog. @throws Error for any status but 200 */
export function send(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ text: string; index: number }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ text: string; index: number }>();
  const call = request(`${url}${path}`, { method, agent }, (answer) => {
    let text = '';
    answer.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    answer.on('error', reject).on('end', () => {
      const index = Number(answer.headers['x-consul-index'] ?? 0);
      if (answer.statusCode === 200) resolve({ text, index });
      else reject(new Error(`${method} ${path}: ${answer.statusCode} ${text.slice(0, 200)}`));
    });
  });
  call.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
  return promise;
}

/** Registers one instance; with another port, it is a change. */
export async function register(url: string, service: number, index: number, port = 8_000 + index): Promise<void> {
  const node = (service * instancesEach + index) % nodes;
  await send(url, 'PUT', '/v1/catalog/register', {
    Node: `node-${node}`,
    Address: `10.0.${node >> 8}.${node & 0xff}`,
    Service: { ID: `s${service}-${index}`, Service: `service-${service}`, Port: port },
    Check: { CheckID: `c${service}-${index}`, ServiceID: `s${service}-${index}`, Status: 'passing' },
  });
}

/** Registers everything, 64 at a time. */
export async function fillCatalog(url: string): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let at = next++; at < services * instancesEach; at = next++)
      await register(url, Math.floor(at / instancesEach), at % instancesEach);
  };
  await Promise.all(Array.from({ length: 64 }, worker));
}
