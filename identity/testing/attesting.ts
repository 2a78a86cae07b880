import { parseAttestation } from '#cli/attestation-file.ts';
import { type KeyPair, makeKeyPair, publicKeyPem } from '#runtime/svid/node-key.ts';
import { signNodeProof } from '#runtime/svid/node-proof.ts';
import { type Answer, RunningService } from './running-service.ts';

/** Starts a service with `attestation` as it stands in a configuration file. */
export function startAttesting(
  attestation: unknown,
  ...more: Parameters<typeof RunningService.start>
): Promise<RunningService> {
  const [overrides = {}, world] = more;
  return RunningService.start({ ...overrides, attestation: parseAttestation(attestation) }, world);
}

/** Shows what a node has, with a proof of a node key. */
export async function attest(
  service: RunningService,
  shown: {
    readonly method: string;
    readonly token?: string;
    readonly statement?: string;
    readonly [field: string]: unknown;
  },
  key: KeyPair = makeKeyPair(),
): Promise<Answer> {
  const proof = await signNodeProof(key, { content: shown.statement ?? shown.token ?? '' }, service.context);
  return service.ask('/v1/identity/attest', { body: { ...shown, publicKey: publicKeyPem(key), proof } });
}

/** `403 SLV-2106`, or `200`. */
export function codeOf(answer: Answer): string {
  return `${answer.status} ${String(answer.body['code'] ?? '')}`.trim();
}
