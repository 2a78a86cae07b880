import { MeshError } from '#policies/errors/mesh-error.ts';

/** An SVID that a caller showed in order to renew it. */
export interface ShownSvid {
  readonly serial: string;
  /** It was all that was shown: if it may not renew any more, nobody was attested. */
  readonly isProof: boolean;
}

/** The serials by which a node may renew a service: that of its newest SVID, and of the one before it. */
export interface RenewableSerials {
  readonly current: string;
  readonly previous?: string | undefined;
}

/** Whether a serial is one of those. */
export function isRenewable(serials: RenewableSerials | undefined, serial: string): boolean {
  return serials !== undefined && (serials.current === serial || serials.previous === serial);
}

/**
 * The serial that may renew beside the new one: of what was shown, or else of the newest. Asked when the new one is written, for others may have renewed meanwhile.
 * @throws MeshError SLV-2122 when what was shown was the proof, and may not renew any more
 */
export function stillRenewable(
  serials: RenewableSerials | undefined,
  shown: ShownSvid | undefined,
): string | undefined {
  if (shown !== undefined && isRenewable(serials, shown.serial)) return shown.serial;
  if (shown?.isProof === true) throw notRenewable(shown.serial);
  return serials?.current;
}

/** That an SVID may not renew: SLV-2122. */
export function notRenewable(serial: string): MeshError {
  return new MeshError(
    'SLV-2122',
    `The SVID with serial ${serial} is neither the newest of its service nor the one before it.`,
  );
}
