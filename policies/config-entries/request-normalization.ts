import { z } from 'zod';
import { type RequestNormalization, strictNormalization } from '../request-normalization.ts';
import { entryObject, invalidEntry } from './entry-object.ts';

const no = z.boolean().default(false);

/**
 * `Incoming` of Consul's `HTTP` block: which requests of an odd form are let pass. In `mesh` of all services, as in Consul; in `service-defaults`, where Consul has none, of
 * one (docs/decisions/0024-odd-requests-are-let-pass-by-service.md).
 */
export const incomingSchema = entryObject({
  RequestNormalization: entryObject({
    InsecureDisablePathNormalization: no,
    MergeSlashes: no,
    PathWithEscapedSlashesAction: z
      .enum([
        '',
        'IMPLEMENTATION_SPECIFIC_DEFAULT',
        'KEEP_UNCHANGED',
        'REJECT_REQUEST',
        'UNESCAPE_AND_REDIRECT',
        'UNESCAPE_AND_FORWARD',
      ])
      .default(''),
    HeadersWithUnderscoresAction: z.enum(['', 'ALLOW', 'REJECT_REQUEST', 'DROP_HEADER']).default(''),
  }).exactOptional(),
});
type Incoming = z.output<typeof incomingSchema>;

/** What has an `HTTP` block with that in it. */
interface WithIncoming {
  readonly HTTP?: { readonly Incoming?: Incoming };
}

/**
 * @throws ConsulError 400 where paths are not to be normalized: what is judged has to be what is forwarded, and without normalization an application would be sent
 * another path than the one that the rules were compared with (CVE-2024-10005)
 */
export function judgeIncoming({ HTTP }: WithIncoming): void {
  if (HTTP?.Incoming?.RequestNormalization?.InsecureDisablePathNormalization !== true) return;
  throw invalidEntry(
    'HTTP.Incoming.RequestNormalization.InsecureDisablePathNormalization is not offered: intentions judge a path in the form in which it is forwarded, and of a path that is not normalized an application may read another than they judged. Encoded slashes are let through by PathWithEscapedSlashesAction = "KEEP_UNCHANGED"',
  );
}

/** What holds for a service: each word of its own entry, else of the mesh's, else the strict one. */
export function normalizationSaid(
  own: WithIncoming | undefined,
  ofMesh: WithIncoming | undefined,
): RequestNormalization {
  const [mine, everyones] = [own, ofMesh].map((entry) => entry?.HTTP?.Incoming?.RequestNormalization);
  // Empty is unsaid.
  const slashes = mine?.PathWithEscapedSlashesAction || everyones?.PathWithEscapedSlashesAction;
  const underscores = mine?.HeadersWithUnderscoresAction || everyones?.HeadersWithUnderscoresAction;
  return {
    escapedSlashes:
      !slashes || slashes === 'IMPLEMENTATION_SPECIFIC_DEFAULT' ? strictNormalization.escapedSlashes : slashes,
    underscores: underscores || strictNormalization.underscores,
  };
}
