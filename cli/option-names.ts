import {
  catalogClientOptions,
  catalogOptions,
  devOptions,
  edgeProxyOptions,
  identityClientOptions,
  identityOptions,
} from './command-options.ts';
import { edgeProxyClientOptions } from './edge-proxy-client-options.ts';

/** Names of all options of all commands: a SELVEDGE_* variable that is none of them is a mistake. */
export const allOptionNames: readonly string[] = [
  ...new Set(
    [
      devOptions,
      identityOptions,
      catalogOptions,
      edgeProxyOptions,
      catalogClientOptions,
      identityClientOptions,
      edgeProxyClientOptions,
    ].flatMap((set) => Object.keys(set)),
  ),
];
