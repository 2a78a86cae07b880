import type { Command } from 'commander';
import { z } from 'zod';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { parseStrictJson } from '#policies/strict-json.ts';
import { type FederationView, federationSchema } from '#policies/wire/federation-api.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import { oneOf, text } from '#runtime/option-kinds.ts';
import { identityClientOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { printJson, printRows, say } from '../output.ts';
import { identityClient, outputOption } from './identity-client.ts';

const path = '/v1/identity/federation';
const maxBundleBytes = 262_144;
const profile = {
  parse: oneOf('https_web', 'https_spiffe'),
  placeholder: 'profile',
  required: true,
  description: 'by what the endpoint is known: https_web (Web PKI) or https_spiffe (an SVID)',
} as const;

/** `selvedge identity federation create|list|refresh|delete`. */
export function defineFederation(identity: Command): void {
  const federation = identity.command('federation').description('other trust domains whose SVIDs can be verified');
  defineCommand(federation, {
    name: 'create',
    summary: 'federate with a trust domain: its bundle is fetched now and at its refresh hint',
    options: {
      ...identityClientOptions,
      trustDomain: {
        parse: parseTrustDomain,
        placeholder: 'domain',
        required: true,
        description: 'whose bundle it is',
      },
      url: { parse: text, placeholder: 'url', required: true, description: 'https URL of their bundle endpoint' },
      profile,
      endpointSpiffeId: {
        parse: parseSpiffeId,
        placeholder: 'id',
        description: 'ID that the endpoint must show, for https_spiffe',
      },
      bundle: {
        parse: text,
        placeholder: 'file',
        description:
          'their bundle as of now (SPIFFE bundle document), by which an https_spiffe endpoint is proven at first',
      },
      output: outputOption,
    },
    async run(options) {
      const { trustDomain, url, endpointSpiffeId } = options;
      const bundle = options.bundle === undefined ? undefined : await readBundle(options.bundle);
      const asked = { trustDomain, url, profile: options.profile, endpointSpiffeId, bundle };
      const created = await identityClient(options).json('POST', path, federationSchema, asked);
      if (options.output === 'json') printJson(created);
      else say(`federated with ${trustDomain}: ${stateOf(created)}`);
    },
  });
  defineCommand(federation, {
    name: 'list',
    summary: 'trust domains that this one federates with, and how their bundles are',
    options: { ...identityClientOptions, output: outputOption },
    async run(options) {
      const federations = await identityClient(options).json('GET', path, z.array(federationSchema));
      if (options.output === 'json') printJson(federations);
      else {
        const rows = federations.map((one) => ({ ...one, state: stateOf(one) }));
        printRows(rows, ['trustDomain', 'profile', 'url', 'endpointSpiffeId', 'state'], options.output);
      }
    },
  });
  defineCommand(federation, {
    name: 'refresh',
    summary: 'fetch the bundle of this trust domain now',
    positional: ['<trust-domain>'],
    options: { ...identityClientOptions, output: outputOption },
    async run(options, [trustDomain = '']) {
      const now = await identityClient(options).json('POST', `${pathOf(trustDomain)}/refresh`, federationSchema);
      if (options.output === 'json') printJson(now);
      else say(`${trustDomain}: ${stateOf(now)}`);
    },
  });
  defineCommand(federation, {
    name: 'delete',
    summary: 'end the federation with this trust domain: its SVIDs are valid no more',
    positional: ['<trust-domain>'],
    options: identityClientOptions,
    async run(options, [trustDomain = '']) {
      await identityClient(options).send('DELETE', pathOf(trustDomain));
      say(`federation with ${trustDomain} ended`);
    },
  });
}

function pathOf(trustDomain: string): string {
  return `${path}/${encodeURIComponent(trustDomain)}`;
}

function stateOf({ bundle, sequence, roots, jwtKeys, failure }: FederationView): string {
  const what =
    bundle === 'none'
      ? 'no bundle yet'
      : `${bundle} bundle, sequence ${sequence ?? 0}, ${roots} root${roots === 1 ? '' : 's'}, ${jwtKeys} JWT key${jwtKeys === 1 ? '' : 's'}`;
  return failure === undefined ? what : `${what}; last attempt (${failure.at}) failed: ${failure.reason}`;
}

async function readBundle(file: string): Promise<unknown> {
  const content = await readFileBounded(file, maxBundleBytes);
  if (content === undefined) throw new MeshError('SLV-1005', `There is no file ${file} (--bundle).`);
  try {
    return parseStrictJson(content.toString('utf8'));
  } catch (cause) {
    if (!isMeshError(cause)) throw cause;
    throw new MeshError('SLV-1002', `--bundle: ${file} is no bundle: ${cause.message}`, { cause });
  }
}
