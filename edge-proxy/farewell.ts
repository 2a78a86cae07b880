import type { ByteStream } from './byte-stream.ts';
import type { IdleSweep } from './idle-sweep.ts';

/** How long the last bytes of a connection may take to leave, ms. */
const farewellMs = 2_000;

/**
 * No more from our side but `last`; what still comes is dropped for a while, as a socket closed with unread bytes would take back what was said last (RFC 9112
 * 9.6). Takes the stream's handlers over.
 *
 * @param onClose the stream is gone
 */
export function endWithFarewell(
  stream: ByteStream,
  sweep: IdleSweep,
  last?: Buffer | string,
  onClose: () => void = () => {},
): void {
  const guard = sweep.guard(farewellMs, () => stream.destroy());
  stream.handlers = {
    onData() {},
    onEnd() {},
    onDrain() {},
    onClose() {
      sweep.release(guard);
      onClose();
    },
  };
  if (last !== undefined) stream.write(last);
  stream.end();
  stream.resume();
}
