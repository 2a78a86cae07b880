import type { CounterCell } from '#runtime/metrics.ts';
import type { ByteStream } from './byte-stream.ts';
import type { IdleSweep } from './idle-sweep.ts';

/** How two streams are joined. */
export interface RelayOptions {
  readonly sweep: IdleSweep;
  /** No byte either way for this long ends both. */
  readonly idleTimeoutMs: number;
  /** Bytes from `a` to `b`. */
  readonly forward: CounterCell;
  /** Bytes from `b` to `a`. */
  readonly backward: CounterCell;
  /** Once, when both are closed; `fault` as in ByteStream. */
  onDone(fault: string | undefined): void;
}

/**
 * Joins two byte streams until both directions have ended: half-close is passed on, a slow side slows the other, a broken side breaks the other.
 *
 * @returns cuts both, with a reason for `onDone`
 */
export function relay(a: ByteStream, b: ByteStream, options: RelayOptions): (fault: string) => void {
  let open = 2;
  let ended = 0;
  let fault: string | undefined;
  const cut = (reason: string): void => {
    fault ??= reason;
    a.reset();
    b.reset();
  };
  const guard = options.sweep.guard(options.idleTimeoutMs, () => cut('idle timeout'));

  const join = (from: ByteStream, to: ByteStream, counter: CounterCell): void => {
    const passed = (bytes: number, more: boolean): void => {
      guard.touched = true;
      counter.value += bytes;
      if (!more) from.pause();
    };
    const writePassing = to.writePassing?.bind(to);
    from.handlers = {
      onData: (chunk) => passed(chunk.length, to.write(chunk)),
      ...(writePassing && { onPassing: (bytes: Buffer) => passed(bytes.length, writePassing(bytes)) }),
      onEnd() {
        ended += 1;
        to.end();
      },
      onDrain() {
        guard.touched = true;
        to.resume();
      },
      onClose(reason) {
        open -= 1;
        fault ??= reason;
        if (open === 0) {
          options.sweep.release(guard);
          options.onDone(fault);
        } else if (reason !== undefined || ended < 2) {
          // Both directions ended in order: the other side may still be flushing. Anything else tears it down.
          to.reset();
        }
      },
    };
  };
  join(a, b, options.forward);
  join(b, a, options.backward);
  a.resume();
  b.resume();
  return cut;
}
