import assert from 'node:assert/strict';
import { type FeedMessage, feedMessageSchema } from '#policies/wire/feed.ts';
import { meshStream } from '#runtime/mesh-http.ts';
import type { RunningCatalog } from '../main.ts';
import { quietContext } from './running-catalog.ts';

/** Follows a feed over the wire; every line must be of the contract. */
export async function follow(catalog: RunningCatalog, query: string) {
  const stream = await meshStream({
    url: `${catalog.url}/v1/mesh/feed?${query}`,
    clock: quietContext().clock,
    timeoutMs: 5_000,
  });
  assert.equal(stream.status, 200);
  assert.equal(stream.headers['content-type'], 'application/x-ndjson');
  const lines = stream.lines[Symbol.asyncIterator]();
  return {
    close: () => stream.close(),
    async next(): Promise<FeedMessage> {
      const { value, done } = await lines.next();
      assert.ok(done !== true, 'the feed ended');
      return feedMessageSchema.parse(JSON.parse(value));
    },
    async update() {
      for (;;) {
        const message = await this.next();
        if (message.type === 'update') return message;
      }
    },
  };
}
