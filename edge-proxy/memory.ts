import { flushCompileCache } from 'node:module';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Goes from starting to running, once, when all is loaded: compiled code is written to the cache, and V8 gets the settings that it must not have before. V8 accepts cached code
 * only under the settings under which it was made, so one that changed among the imports would have the rest of them compiled anew at every start.
 */
export function endStart(): void {
  flushCompileCache();
  optimise();
  countBuffersWithHeap();
  releaseStartMemory();
}

/**
 * Lets V8 optimise what is called often. bin/selvedge has it wait until now: while starting, what is called often is Node's module loader, and to optimise that takes
 * both compilers, 8 MB of Node's binary and 2 MB of the threads that run them.
 */
function optimise(): void {
  setFlagsFromString('--maglev-filter=*');
  setFlagsFromString('--turbo-filter=*');
}

/**
 * Has V8 count the memory of buffers, which lies outside of its heap, in one limit with the heap. By default it lets them grow by a fixed amount from one full collection to
 * the next, and a proxy that carries bodies reaches that many times a second: answers of 16 KiB at 32 connections cost 209 µs of CPU each so, 74 with this and a small young
 * generation (bin/selvedge). A Node that does not know the word says so on standard error and goes on without.
 */
function countBuffersWithHeap(): void {
  setFlagsFromString('--external-memory-accounted-in-global-limit');
}

/**
 * Gives back what starting took and running does not need: half of the heap is left over from compiling modules and reading configuration, and V8 keeps it for as long
 * as it is not short of memory. Measured 127 MB resident before, 100 after, in 40 ms.
 */
function releaseStartMemory(): void {
  setFlagsFromString('--expose-gc');
  const collect: typeof globalThis.gc = runInNewContext('gc');
  collect?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
