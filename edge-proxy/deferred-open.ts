/**
 * Opens something behind all else that has come of its caller in this moment: for who takes a request back at once (CVE-2023-44487) nothing is opened.
 *
 * @param open begins, and returns how to give up
 * @returns how to give up, before or after it has begun
 */
export function deferOpen(open: () => () => void): () => void {
  let giveUp: (() => void) | undefined;
  let wanted = true;
  queueMicrotask(() => {
    if (wanted) giveUp = open();
  });
  return () => {
    wanted = false;
    giveUp?.();
  };
}
