import { isMainThread } from 'node:worker_threads';

/*
 * Ends a file of tests that does not end: `npm test` loads this into each. A test that ran out of its time is told at the end of its file, and what it left open (a server, a child) would
 * keep that from coming. Node's own --test-force-exit also drops, in silence, the tests that a file defines after an `await`.
 */

/** Several times what the longest file takes. */
const deadlineMs = 400_000;

if (isMainThread && process.env['NODE_TEST_CONTEXT'] !== undefined)
  setTimeout(() => {
    console.error(
      `after ${deadlineMs / 1_000} s this file is still open: ${process.getActiveResourcesInfo().join(', ')}`,
    );
    process.exit(1);
  }, deadlineMs).unref();
