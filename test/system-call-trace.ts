/** One finished system call of a strace log made with `-f -y -s N`: name, the file behind its descriptor, what is between the parentheses. */
export interface SystemCall {
  readonly name: string;
  readonly file: string;
  readonly text: string;
}

/**
 * Reads a strace log in the order in which the calls returned: a call that other threads interrupted in the log
 * (`<unfinished ...>`, `<... resumed>`) counts where it resumes. Failed calls are left out.
 */
export function readTrace(log: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const unfinished = new Map<string, string>();
  for (const line of log.split('\n')) {
    const [, thread = '', rest = ''] = /^(?:\[pid +)?(\d+)\]? +(.*)$/.exec(line) ?? [];
    if (rest.endsWith('<unfinished ...>')) {
      unfinished.set(thread, rest.slice(0, -'<unfinished ...>'.length));
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    const whole = resumed === null ? rest : (unfinished.get(thread) ?? '') + resumed[1];
    const call = /^(\w+)\(\d+<([^>]*)>(.*)\) += (\d+)/.exec(whole);
    if (call === null) continue;
    const [, name = '', file = '', text = ''] = call;
    calls.push({ name, file, text });
  }
  return calls;
}

/**
 * The acknowledgements of a trace that were written out before the record they speak of was both written to the write-ahead log and synced.
 * Empty means durable. An acknowledgement is a write of "ack <key>" to anything but the log; a record is a write to a `-wal` file that
 * contains the key.
 */
export function unsyncedAcknowledgements(calls: readonly SystemCall[]): string[] {
  const written = new Set<string>();
  const synced = new Set<string>();
  const unsynced: string[] = [];
  for (const { name, file, text } of calls) {
    if (file.endsWith('-wal')) {
      if (name === 'fsync' || name === 'fdatasync') {
        for (const key of written) synced.add(key);
        written.clear();
      } else for (const [key] of text.matchAll(/<[\w.]+>/g)) written.add(key);
      continue;
    }
    for (const [, key = ''] of text.matchAll(/ack (<[\w.]+>)/g)) if (!synced.has(key)) unsynced.push(key);
  }
  return unsynced;
}

/** Keys that were acknowledged in a trace. */
export function acknowledgements(calls: readonly SystemCall[]): string[] {
  return calls.flatMap(({ text }) => [...text.matchAll(/"ack (<[\w.]+>)/g)].map(([, key = '']) => key));
}
