import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 count the memory of buffers, which lies outside of its heap, in one limit with the heap. By default it lets them grow by a fixed amount from one full collection to
 * the next, and a proxy that carries bodies reaches that many times a second: answers of 16 KiB at 32 connections cost 209 µs of CPU each so, 74 with this and a young
 * generation of 16 MiB (bin/selvedge). A Node that does not know the word says so on standard error and goes on without.
 */
export function countBuffersWithHeap(): void {
  setFlagsFromString('--external-memory-accounted-in-global-limit');
}
