/** How often each is called, ms. */
const tickMs = 1_000;
/** They take turns, so that no turn of the event loop has all of them to look after. */
const turns = 8;

const waiting: readonly Set<() => void>[] = Array.from({ length: turns }, () => new Set());
let timer: NodeJS.Timeout | undefined;
let turn = 0;
let size = 0;
let next = 0;

/**
 * Calls `look` about once a second, for what is open to see that its time-outs are kept; keeps no process alive. A timer each would wake a proxy with a thousand idle tunnels a
 * thousand times a second: measured 1.0 % of a core, so 0.65 %.
 *
 * @returns ends it
 */
export function everySecond(look: () => void): () => void {
  next = (next + 1) % turns;
  const mine = waiting[next] ?? new Set();
  mine.add(look);
  size += 1;
  timer ??= setInterval(nextTurn, tickMs / turns).unref();
  return () => {
    if (!mine.delete(look)) return;
    size -= 1;
    if (size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

function nextTurn(): void {
  turn = (turn + 1) % turns;
  for (const look of [...(waiting[turn] ?? [])]) look();
}
