import { denied } from '../access/denied.ts';
import { knownOnly } from '../access/permissions.ts';
import { jsonAnswer, type Route } from './route-table.ts';

/** /v1/status: Consul's raft. The catalog that answers leads itself; its store keeps the truth. @param address host:port, known once it listens */
export function statusRoutes(address: () => string): Route[] {
  const answer = (path: string, value: () => unknown): Route => ({
    path,
    methods: {
      GET: (c) => {
        denied(knownOnly(c.var.caller));
        return jsonAnswer(value());
      },
    },
  });
  return [answer('/v1/status/leader', address), answer('/v1/status/peers', () => [address()])];
}
