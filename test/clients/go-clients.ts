import { buildGo, whyNoGo } from '../go-program.ts';

/** The clients in test/clients/go: HashiCorp's client library, and Prometheus' discovery of services. */

/** False, or why they are skipped. In CI nothing is skipped: the tests fail instead. */
export async function skipWithoutGo(): Promise<string | false> {
  const missing = await whyNoGo();
  return missing !== undefined && process.env['CI'] !== 'true' ? missing : false;
}

/** @returns the path of the program */
export function buildGoClients(): Promise<string> {
  return buildGo('go-clients');
}
