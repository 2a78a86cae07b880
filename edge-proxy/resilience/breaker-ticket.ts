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
  /** Something of the answer is here: what the call takes from now on does not make it slow. The last word counts. */
  answered(): void;
  /**
   * It takes its time, and no deadline of its breaker holds any more. `answered`: that is its answer, and counts as a success; `waiting`: nothing can be said yet.
   * It can still be settled: a failure at its end counts, and a success that was not counted.
   */
  lasts(state: 'answered' | 'waiting'): void;
}

/** A ticket of a breaker that is switched off. */
export const untracked: BreakerTicket = {
  success() {},
  failure() {},
  cancelled() {},
  answered() {},
  lasts() {},
};

/** What a ticket asks of its breaker. */
export interface TicketOwner {
  settle(ticket: Ticket, outcome: Outcome): void;
  settleLate(ticket: Ticket, outcome: 'success' | 'failure'): void;
  answered(ticket: Ticket): void;
}

/** A ticket that its breaker keeps track of. */
export class Ticket implements BreakerTicket {
  readonly epoch: number;
  /** By the breaker's clock, ms since the epoch. */
  readonly admittedMs: number;
  readonly deadlineMs: number;
  /** Until when it counts as slow or not; undefined: its end. */
  answeredMs: number | undefined;
  /** Neighbours in a TicketList. */
  older: Ticket | undefined;
  newer: Ticket | undefined;
  #owner: TicketOwner | undefined;
  /** It has outlived its deadline by leave. */
  #lasting: 'no' | 'waiting' | 'answered' = 'no';

  constructor(owner: TicketOwner, epoch: number, admittedMs: number, deadlineMs: number) {
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

  answered(): void {
    this.#owner?.answered(this);
  }

  lasts(state: 'answered' | 'waiting'): void {
    if (this.#lasting !== 'no') return;
    this.#lasting = state;
    this.#owner?.settle(this, state === 'answered' ? 'success' : 'cancelled');
  }

  #settle(outcome: Outcome): void {
    const owner = this.#owner;
    this.#owner = undefined;
    if (this.#lasting === 'no') owner?.settle(this, outcome);
    else if (outcome === 'failure' || (outcome === 'success' && this.#lasting === 'waiting'))
      owner?.settleLate(this, outcome);
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
