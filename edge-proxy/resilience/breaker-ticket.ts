/** How a call went. `cancelled`: nobody can say (the client left, a mesh 403): it counts as nothing. */
export type Outcome = 'success' | 'failure' | 'cancelled';

/** Leave to make one call. The first of its methods settles it; what is called after that changes nothing. */
export interface BreakerTicket {
  /** An answer came that the policy does not list as a failure: 4xx too. */
  success(): void;
  /** A connect error, a reset, a timeout or a listed status. */
  failure(): void;
  /** The caller gave up, or the mesh said no. */
  cancelled(): void;
}

/** A ticket of a breaker that is switched off. */
export const untracked: BreakerTicket = { success() {}, failure() {}, cancelled() {} };

/** A ticket that its breaker keeps track of. */
export class Ticket implements BreakerTicket {
  readonly epoch: number;
  /** By the breaker's clock, ms since the epoch. */
  readonly admittedMs: number;
  readonly deadlineMs: number;
  /** Neighbours in a TicketList. */
  older: Ticket | undefined;
  newer: Ticket | undefined;
  #owner: { settle(ticket: Ticket, outcome: Outcome): void } | undefined;

  constructor(
    owner: { settle(ticket: Ticket, outcome: Outcome): void },
    epoch: number,
    admittedMs: number,
    deadlineMs: number,
  ) {
    this.#owner = owner;
    this.epoch = epoch;
    this.admittedMs = admittedMs;
    this.deadlineMs = deadlineMs;
  }

  success(): void {
    this.#settle('success');
  }

  failure(): void {
    this.#settle('failure');
  }

  cancelled(): void {
    this.#settle('cancelled');
  }

  #settle(outcome: Outcome): void {
    const owner = this.#owner;
    this.#owner = undefined;
    owner?.settle(this, outcome);
  }
}

/** Tickets in the order of their admission, linked through themselves: no allocation, removal at once from anywhere. */
export class TicketList {
  oldest: Ticket | undefined;
  size = 0;
  #newest: Ticket | undefined;

  push(ticket: Ticket): void {
    ticket.older = this.#newest;
    if (this.#newest === undefined) this.oldest = ticket;
    else this.#newest.newer = ticket;
    this.#newest = ticket;
    this.size += 1;
  }

  /** The ticket must be in the list. */
  remove(ticket: Ticket): void {
    if (ticket.older === undefined) this.oldest = ticket.newer;
    else ticket.older.newer = ticket.newer;
    if (ticket.newer === undefined) this.#newest = ticket.older;
    else ticket.newer.older = ticket.older;
    ticket.older = undefined;
    ticket.newer = undefined;
    this.size -= 1;
  }
}
