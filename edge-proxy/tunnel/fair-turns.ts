/** What one of them may take of a turn, ms. */
export const sliceMs = 0.25;

/** Something with more to do than one turn of the event loop has time for. */
export interface Unfinished {
  /** Who it is done for: all of one source share a place in the line. */
  readonly source: unknown;
  /** A slice of it; where there is more, it stands in line again. */
  goOn(): void;
}

/**
 * The line of those who have used up their slice of a turn of the event loop. In each turn one goes on, for a slice, and the sources take turns: however many flood, and
 * over however many connections, whoever has little to say waits for a slice at the most (Envoy's `max_requests_per_io_cycle`, in time instead of requests).
 */
export class FairTurns {
  readonly #schedule: (next: () => void) => void;
  /** The sources in the order of their turn, each with what it has in the line. */
  readonly #waiting = new Map<unknown, Unfinished[]>();
  #turn = 0;
  #endsSoon = false;

  /** @param schedule calls back in the next turn of the event loop */
  constructor(schedule: (next: () => void) => void = setImmediate) {
    this.#schedule = schedule;
  }

  /** A number of the turn that is under way. */
  get turn(): number {
    this.#watch();
    return this.#turn;
  }

  /** It goes on in a later turn. */
  enqueue(unfinished: Unfinished): void {
    const line = this.#waiting.get(unfinished.source);
    if (line === undefined) this.#waiting.set(unfinished.source, [unfinished]);
    else line.push(unfinished);
    this.#watch();
  }

  #watch(): void {
    if (this.#endsSoon) return;
    this.#endsSoon = true;
    this.#schedule(this.#nextTurn);
  }

  readonly #nextTurn = (): void => {
    this.#turn += 1;
    this.#endsSoon = false;
    const unfinished = this.#takeNext();
    if (unfinished === undefined) return;
    this.#watch();
    unfinished.goOn();
  };

  /** The first of the first source, which then stands behind the others. */
  #takeNext(): Unfinished | undefined {
    const [first] = this.#waiting;
    if (first === undefined) return undefined;
    const [source, line] = first;
    const unfinished = line.shift();
    this.#waiting.delete(source);
    if (line.length > 0) this.#waiting.set(source, line);
    return unfinished;
  }
}

/** Of this thread. */
export const fairTurns: FairTurns = new FairTurns();

/** Between two slices of what helps nobody, ms. Five thousand requests a second, each taken back at once, are still read so: what the bound of a tunnel lets through. */
const idlePauseMs = 2;

/** The line of those whose frames help nobody: of all of them one goes on, for a slice, and then the thread is everybody else's for a while. */
export const idleTurns: FairTurns = new FairTurns((next) => setTimeout(next, idlePauseMs));
