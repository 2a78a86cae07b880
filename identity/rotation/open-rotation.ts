import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import { hangsOn } from '#runtime/svid/tainted.ts';
import type { IdentityAudit } from '../audit-events.ts';
import type { CheckedConfig } from '../identity-config.ts';
import type { HeldSvids } from '../status/held-svids.ts';
import type { Succession } from '../succession.ts';
import type { TrustPublication } from '../trust-publication.ts';
import { askCatalog } from './catalog-sightings.ts';
import type { RotatingAuthorities } from './rotating-authorities.ts';
import { superseded } from './rotation.ts';
import { RotationDriver } from './rotation-driver.ts';
import { defaultRotationTimes } from './rotation-times.ts';

/** The driver of the CA's rotations, in its surroundings. */
export function rotationDriver(parts: {
  readonly config: CheckedConfig;
  readonly rotating: RotatingAuthorities;
  readonly trust: TrustPublication;
  readonly own: SvidSource;
  readonly held: HeldSvids;
  readonly audit: IdentityAudit;
  readonly context: ProcessContext;
  /** Writes the file that `--ca-file` takes. */
  readonly writeRoots: () => Promise<void>;
  /** How who is away finds to the next root. */
  readonly succession: Succession;
}): RotationDriver {
  const { config, rotating, trust, own, held, audit, context, writeRoots, succession } = parts;
  const { catalogUrl } = config;
  return new RotationDriver({
    rotating,
    times: { ...defaultRotationTimes, ...config.rotation },
    async publish() {
      await trust.refresh();
      await succession.note(rotating.state);
      await writeRoots();
    },
    bundleSequence: () => trust.bundle.sequence,
    async sightings(signal) {
      if (catalogUrl === undefined) return { kind: 'by-time' };
      const url = typeof catalogUrl === 'string' ? catalogUrl : catalogUrl();
      if (url === undefined) return { kind: 'unknown', reason: 'it has not started yet' };
      return askCatalog({ url, own, trust, clock: context.clock, signal }, trust.bundle.sequence);
    },
    held,
    isOwnFresh: () => own.current !== undefined && !hangsOn(own.current, new Set(superseded(rotating.state))),
    audit,
    context,
    pause,
    onState: config.onRotation,
  });
}
