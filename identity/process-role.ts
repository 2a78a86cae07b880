/** What a process is among those that share a store: a `lead` is there alone, of `member`s there may be any number; never both. */
export type ProcessRole = 'lead' | 'member';
