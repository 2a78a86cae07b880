import { frameHeaderSize, maxFrameSize } from './http2.ts';

/** One buffer of output: four full DATA frames, so that bulk leaves in pieces that TLS and the kernel take well. */
export const outputBufferSize = 4 * (frameHeaderSize + maxFrameSize);

/** Buffers kept for the next writer that needs one: 1 MiB for all tunnels of this thread. */
const maxSpare = 16;
const spare: Buffer[] = [];

/**
 * Buffers that frames are built in, shared by all tunnels: one that has nothing to send holds none, and bulk does not make garbage. A buffer of 64 KiB for each
 * write is memory outside of V8's heap, and V8 answers that with one full collection after the other: answers of 16 KiB cost six times as much then.
 */
export function takeOutputBuffer(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(outputBufferSize);
}

/** Takes one back that nobody reads any more. */
export function giveOutputBuffer(buffer: Buffer): void {
  if (spare.length < maxSpare) spare.push(buffer);
}
