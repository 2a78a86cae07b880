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

/**
 * All that the writer of some intentions of one destination should know, one sentence each.
 * @param after everything that is in force once they are written
 */
export function writeWarnings(
  state: Pick<CatalogState, 'protocolOf'>,
  destination: string,
  written: readonly Rules[],
  after: readonly Rules[],
): string[] {
  const protocol = protocolWarning(state, destination, written);
  const guarded = written.flatMap((intention) => guardedBy(intention, after));
  const cut = lintIntentions(guarded, [...written]).filter(({ problem }) => problem === 'cut-by-guard');
  return [
    ...(protocol === undefined ? [] : [protocol]),
    ...[...lintIntentions(written, after), ...cut].map(({ message }) => message),
  ];
}
