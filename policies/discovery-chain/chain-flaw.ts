/** Config entries that do not go together, in Consul's words. */
export class ChainFlaw extends Error {}
