/** Turns of the event loop that a write waits for at most, behind its own, while connections come in. */
const furtherTurns = 3;

let due: (() => void)[] = [];
let taken = false;
let waited = 0;

/** A listening socket has brought a connection. libuv takes one in a turn, however many stand in line: there may be more. */
export function connectionTaken(): void {
  taken = true;
}

/**
 * Calls back at the end of this turn of the event loop, behind what all sockets have brought in it. While each turn brings a connection, some turns later: what they
 * say first then leaves together, as it does with connections that are kept.
 */
export function atTurnEnd(callback: () => void): void {
  if (due.length === 0) setImmediate(look);
  due.push(callback);
}

function look(): void {
  if (taken && waited < furtherTurns) {
    taken = false;
    waited += 1;
    setImmediate(look);
    return;
  }
  taken = false;
  waited = 0;
  const now = due;
  due = [];
  for (const callback of now) queueMicrotask(callback); // a fault in one is not the others'
}
