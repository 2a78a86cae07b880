import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import { parseSpiffeId, type SpiffeId, serviceIdentityOf } from '#policies/spiffe-id.ts';
import { version } from '#runtime/version.ts';
import { denied } from '../access/denied.ts';
import { knownOnly, mayAskAbout } from '../access/permissions.ts';
import type { Decisions } from '../intentions/decisions.ts';
import type { CatalogParts } from '../parts.ts';
import { bodyOf, jsonAnswer, type Route } from './route-table.ts';

/** Answer to POST /v1/agent/connect/authorize. */
export interface Authorization {
  readonly Authorized: boolean;
  readonly Reason: string;
}

const authorizeSchema = z.object({
  Target: z.string().max(128).default(''),
  ClientCertURI: z.string().max(2_048).default(''),
  ClientCertSerial: z.string().max(256).default(''),
  Namespace: z.string().max(128).default(''),
});

/** The part of /v1/agent that a catalog answers without an agent. */
export function agentSelfRoute(parts: CatalogParts): Route {
  return {
    path: '/v1/agent/self',
    methods: {
      GET: (c) => {
        denied(knownOnly(c.var.caller));
        const { datacenter, nodeName } = parts;
        return jsonAnswer({
          Config: {
            Datacenter: datacenter,
            PrimaryDatacenter: datacenter,
            NodeName: nodeName,
            Server: true,
            Version: version,
          },
          Member: { Name: nodeName, Tags: { role: 'consul', dc: datacenter }, Status: 1 },
        });
      },
    },
  };
}

/** POST /v1/agent/connect/authorize: may this client connect to that service? Decided by the one evaluator. */
export function authorizeRoute(decisions: Decisions): Route {
  return {
    path: '/v1/agent/connect/authorize',
    methods: {
      POST: async (c) => {
        denied(knownOnly(c.var.caller));
        const request = decodeBody(authorizeSchema, await bodyOf(c));
        if (request.Target === '') throw new ConsulError(400, 'Target service must be specified');
        denied(mayAskAbout(c.var.caller, request.Target));
        return jsonAnswer(authorize(decisions, request.Target, request.ClientCertURI));
      },
    },
  };
}

/**
 * Consul's authorize. What depends on the request is "no" here: only a proxy that sees requests can say yes to one.
 * @throws ConsulError 400 in Consul's words for what is no identity of a service
 */
export function authorize(decisions: Decisions, target: string, clientUri: string): Authorization {
  const id = parseClientUri(clientUri);
  if (serviceIdentityOf(id) === undefined) throw new ConsulError(400, 'ClientCertURI not a valid Service identifier');
  const decision = decisions.connection(decisions.serviceOf(id), target);
  if (decision.layer === 'request') {
    return { Authorized: false, Reason: 'Matched L7 intention: only a proxy that sees the requests can decide' };
  }
  return { Authorized: decision.verdict.allowed, Reason: `${decision.verdict.rule}: ${decision.verdict.reason}` };
}

function parseClientUri(text: string): SpiffeId {
  try {
    return parseSpiffeId(text);
  } catch {
    throw new ConsulError(400, 'ClientCertURI not a valid Connect identifier'); // Consul's words; the grammar's flaw adds nothing a client could use
  }
}
