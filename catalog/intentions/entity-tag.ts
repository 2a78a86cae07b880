import { createHash } from 'node:crypto';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Intention } from '#policies/intention.ts';

/** What a writer demands of what it replaces (RFC 9110, sections 13.1.1 and 13.1.2). */
export interface Precondition {
  /** `If-Match` */
  readonly match: string | undefined;
  /** `If-None-Match` */
  readonly noneMatch: string | undefined;
}

/**
 * The ETag of the intention of one pair: of what it says and when that was said. The revision would not do, it is that of the whole destination: a write of
 * another source would change it.
 */
export function entityTag(intention: Intention): string {
  const { precedence, createIndex, modifyIndex, meta, ...said } = intention;
  return `"${createHash('sha256').update(JSON.stringify(said)).digest('base64url').slice(0, 22)}"`;
}

/** @throws MeshError SLV-3007 when the pair is not as the writer has read it */
export function demand({ match, noneMatch }: Precondition, pair: string, found: Intention | undefined): void {
  const tag = found === undefined ? undefined : entityTag(found);
  if (match !== undefined && !named(match, tag)) {
    throw new MeshError(
      'SLV-3007',
      tag === undefined ? `There is no intention ${pair} any more.` : `The intention ${pair} is another now: ${tag}.`,
    );
  }
  if (noneMatch !== undefined && named(noneMatch, tag)) {
    throw new MeshError('SLV-3007', `The intention ${pair} exists already: ${tag}.`);
  }
}

function named(header: string, tag: string | undefined): boolean {
  if (tag === undefined) return false;
  return header.split(',').some((one) => one.trim() === '*' || one.trim().replace(/^W\//, '') === tag);
}
