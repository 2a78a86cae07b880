import { MeshError } from '#policies/errors/mesh-error.ts';

/**
 * Reads a pin as the identity service prints it.
 * @returns lower-case hex, as `spkiPin` gives it
 * @throws MeshError SLV-1002
 */
export function parseRootPin(caPin: string): string {
  const pin = /^sha256:([0-9a-f]{64})$/i.exec(caPin)?.[1]?.toLowerCase();
  if (pin !== undefined) return pin;
  throw new MeshError(
    'SLV-1002',
    `"${caPin.slice(0, 80)}" is not a pin; it takes the form sha256: and 64 hexadecimal digits, as the identity service prints it`,
  );
}
