import { guardedBy, lintIntentions } from '#policies/intention-lint.ts';
import type { CatalogState } from '../state/catalog-state.ts';
import type { Rules } from './shadow.ts';

/**
 * @returns what the writer of these rules should know: permissions look at HTTP, and a service whose protocol is tcp shows none, so there they deny all
 */
export function protocolWarning(
  state: Pick<CatalogState, 'protocolOf'>,
  destination: string,
  rules: Iterable<Rules>,
): string | undefined {
  const [first] = [...rules].filter(({ permissions, jwt }) => permissions !== undefined || jwt !== undefined);
  if (first === undefined) return undefined;
  const has = first.permissions === undefined ? 'asks for a token' : 'has HTTP permissions';
  const name = `${first.source} -> ${destination}`;
  if (destination === '*') {
    return `${name} ${has}: services whose Protocol is tcp (the default) refuse its sources everything; set Protocol http in their service-defaults`;
  }
  if (state.protocolOf(destination) !== 'tcp') return undefined;
  return `${name} ${has} and ${destination} is of protocol tcp: everything is denied until Protocol is http (service-defaults ${destination})`;
}

/** An allow of a path that its destination lets nobody ask for. */
export interface UnaskedPath {
  readonly source: string;
  /** Its place in the list, from 1. */
  readonly permission: number;
  readonly message: string;
}

/** Whether paths with encoded slashes come to a destination as they are; under `*` there may be one that they come to. */
export function keepsSlashes(state: Pick<CatalogState, 'normalizationOf'>): (destination: string) => boolean {
  return (destination) => destination === '*' || state.normalizationOf(destination).escapedSlashes === 'KEEP_UNCHANGED';
}

/** Allows by a path with an encoded slash, where the destination refuses or decodes those: no request comes that they match. */
export function unaskedPaths(
  state: Pick<CatalogState, 'normalizationOf'>,
  destination: string,
  rules: Iterable<Rules>,
): UnaskedPath[] {
  if (keepsSlashes(state)(destination)) return [];
  const { escapedSlashes } = state.normalizationOf(destination);
  const done = escapedSlashes === 'REJECT_REQUEST' ? 'refuses' : 'decodes';
  return [...rules].flatMap(({ source, permissions = [] }) =>
    permissions.flatMap(({ action, http }, index): UnaskedPath[] => {
      const path = http.pathExact ?? http.pathPrefix ?? '';
      if (action !== 'allow' || !/%(?:2F|5C)/i.test(path)) return [];
      const message = `${source} -> ${destination}: permission ${index + 1} can never match: ${destination} ${done} the encoded slashes of a path, until PathWithEscapedSlashesAction of its service-defaults is KEEP_UNCHANGED`;
      return [{ source, permission: index + 1, message }];
    }),
  );
}

/**
 * All that the writer of some intentions of one destination should know, one sentence each.
 * @param after everything that is in force once they are written
 */
export function writeWarnings(
  state: Pick<CatalogState, 'protocolOf' | 'normalizationOf'>,
  destination: string,
  written: readonly Rules[],
  after: readonly Rules[],
): string[] {
  const protocol = protocolWarning(state, destination, written);
  const guarded = written.flatMap((intention) => guardedBy(intention, after));
  const keeps = keepsSlashes(state);
  const cut = lintIntentions(guarded, [...written], keeps).filter(({ problem }) => problem === 'cut-by-guard');
  return [
    ...(protocol === undefined ? [] : [protocol]),
    ...unaskedPaths(state, destination, written).map(({ message }) => message),
    ...[...lintIntentions(written, after, keeps), ...cut].map(({ message }) => message),
  ];
}
