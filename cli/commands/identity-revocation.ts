import type { Command } from 'commander';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { reasonSchema, revocationSchema, serialSchema } from '#policies/wire/revocation-api.ts';
import { text } from '#runtime/option-kinds.ts';
import { identityClientOptions } from '../command-options.ts';
import { fieldOf } from '../contract-option.ts';
import { defineCommand } from '../define-command.ts';
import { printJson, printRows, say } from '../output.ts';
import { identityClient, outputOption } from './identity-client.ts';

const path = '/v1/identity/revocations';
const serialOf = fieldOf(serialSchema);
const reasonOf = fieldOf(reasonSchema);

/** `selvedge identity revoke`, `… revocation list|delete`. */
export function defineRevocation(identity: Command): void {
  defineCommand(identity, {
    name: 'revoke',
    summary: 'revoke a certificate, a SPIFFE ID or a node: connections are cut within seconds, renewal is refused',
    options: {
      ...identityClientOptions,
      serial: { parse: serialOf, placeholder: 'hex', description: 'one certificate; of an issuing CA: all under it' },
      spiffeId: {
        parse: parseSpiffeId,
        placeholder: 'id',
        description: 'every certificate of this SPIFFE ID, until deleted',
      },
      node: { parse: text, placeholder: 'id', description: 'the node and every certificate that it holds, for good' },
      reason: { parse: reasonOf, placeholder: 'text', description: 'why; shown in the list and the audit log' },
      output: outputOption,
    },
    async run(options) {
      const { serial, spiffeId, node, reason } = options;
      const asked = { serial, spiffeId, node };
      if (Object.values(asked).filter((value) => value !== undefined).length !== 1)
        throw new MeshError('SLV-1003', 'give exactly one of --serial, --spiffe-id and --node');
      const revoked = await identityClient(options).json('POST', path, revocationSchema, { ...asked, reason });
      if (options.output === 'json') printJson(revoked);
      else say(`revoked ${revoked.kind} ${revoked.what} (${revoked.id})`);
    },
  });
  const revocation = identity.command('revocation').description('what is revoked');
  defineCommand(revocation, {
    name: 'list',
    summary: 'certificates, SPIFFE IDs and nodes that are revoked',
    options: { ...identityClientOptions, output: outputOption },
    async run(options) {
      const revoked = await identityClient(options).json('GET', path, z.array(revocationSchema));
      printRows(revoked, ['id', 'kind', 'what', 'name', 'revokedAt', 'until', 'reason'], options.output);
    },
  });
  defineCommand(revocation, {
    name: 'delete',
    summary: 'take the revocation with this ID back; that of a node is final',
    positional: ['<id>'],
    options: identityClientOptions,
    async run(options, [id = '']) {
      await identityClient(options).send('DELETE', `${path}/${encodeURIComponent(id)}`);
      say(`revocation ${id} deleted`);
    },
  });
}
