import { z } from 'zod';

/**
 * What a proxy tells the catalog of the calls that its service got since it last did: `POST /v1/mesh/calls`, of its own service only. A summary, bounded: for the
 * preview of edits, never for decisions.
 */

/** Most lines of one report. */
export const maxCallLines = 512;
/** Longest path that is told, in characters. */
export const maxCallPathLength = 256;

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER);
const path = z.string().max(maxCallPathLength + 1);

export const recentCallSchema = z.strictObject({
  /** Service that called. */
  source: z.string().min(1).max(128),
  /** As sent; '' for connections that no requests are read of. */
  method: z.string().max(32),
  /** The shape of its canonical path (policies/path-template.ts); '' for a connection. */
  template: path,
  /** One such path. */
  example: path,
  allowed: count,
  denied: count,
  /** Let through by an intention in observe mode. */
  observed: count,
});
export type RecentCall = z.infer<typeof recentCallSchema>;

/** Body of `POST /v1/mesh/calls`. */
export const recentCallsSchema = z.strictObject({
  service: z.string().min(1).max(128),
  calls: z.array(recentCallSchema).max(maxCallLines),
  /** Calls that found no room in the summary. */
  missed: count,
});
export type RecentCallsReport = z.infer<typeof recentCallsSchema>;
