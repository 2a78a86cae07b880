import { cpus } from 'node:os';
import type { ProcessGroup } from './processes.ts';

/**
 * Keeps every core from sleeping, until the group ends: one process each that gets only what nobody else wants (SCHED_IDLE, sched(7)), and gives it back at once. What a virtual machine does
 * to wake a core that sleeps is long beside a request, and is paid by whoever leaves a core without work, the more the less it computes.
 */
export function keepCoresAwake(processes: ProcessGroup): void {
  for (const core of cpus().keys())
    processes.start(`core-${core}`, 'chrt', ['--idle', '0', 'sh', '-c', 'while :; do :; done']);
}
