import type { FeedMessage } from '#policies/wire/feed.ts';

const encoder = new TextEncoder();

/** @returns one message as a line */
export function feedLine(message: FeedMessage): Uint8Array {
  return encoder.encode(`${JSON.stringify(message)}\n`);
}

/** An update made of resources that are JSON already: none is serialised again for each proxy. */
export function updateLine(revision: number, reset: boolean, resources: readonly string[]): Uint8Array {
  return encoder.encode(
    `{"type":"update","revision":${revision},"reset":${reset},"resources":[${resources.join(',')}]}\n`,
  );
}
