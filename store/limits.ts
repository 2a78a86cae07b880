import { MeshError } from '#policies/errors/mesh-error.ts';
import type { Operation, Transaction } from './contract.ts';

/** Most bytes (UTF-8) of a key. */
export const maxKeyBytes = 1024;
/** Most bytes of a value. */
export const maxValueBytes = 1024 * 1024;
/** Most compares, and most operations in a branch, of one transaction: etcd's default `--max-txn-ops`. */
export const maxTransactionSteps = 128;
/** Longest time to live of a lease, in milliseconds (a year). */
export const maxLeaseTtlMs = 365 * 24 * 3_600_000;

/**
 * Throws SLV-3506 for a key that is empty or too long, SLV-3507 for one that is not well-formed Unicode (two such strings would become
 * the same bytes). The message never repeats the key whole: it may be a megabyte.
 */
export function checkKey(key: string): void {
  // A UTF-16 unit becomes one to three bytes: most keys are settled without counting.
  if (key.length === 0) throw new MeshError('SLV-3506', 'A key is empty.');
  if (key.length > maxKeyBytes || (key.length * 3 > maxKeyBytes && Buffer.byteLength(key) > maxKeyBytes)) {
    throw new MeshError('SLV-3506', `The key that begins "${key.slice(0, 40)}" is over ${maxKeyBytes} bytes.`);
  }
  if (!key.isWellFormed()) throw invalid('a key holds a lone surrogate');
}

/** As checkKey, but the empty prefix (everything) is allowed. */
export function checkPrefix(prefix: string): void {
  if (prefix !== '') checkKey(prefix);
}

/** Throws SLV-3507 unless `revision` is a whole number from 1. */
export function checkRevision(revision: number): void {
  if (!Number.isSafeInteger(revision) || revision < 1) throw invalid(`${revision} is not a revision`);
}

/** Throws SLV-3507 unless `limit` is a whole number from 1. */
export function checkLimit(limit: number): void {
  if (!Number.isSafeInteger(limit) || limit < 1) throw invalid(`${limit} is not a limit`);
}

/** Throws SLV-3507 unless `ttlMs` is a whole number of milliseconds within a year. */
export function checkLeaseTtl(ttlMs: number): void {
  if (!Number.isSafeInteger(ttlMs) || ttlMs < 1 || ttlMs > maxLeaseTtlMs) {
    throw invalid(`a lease's time to live is 1 to ${maxLeaseTtlMs} milliseconds, not ${ttlMs}`);
  }
}

/** Every rule of the contract on a transaction that can be told without the store. Throws SLV-3506 or SLV-3507. */
export function checkTransaction(transaction: Transaction): void {
  if (transaction.compare.length > maxTransactionSteps) throw invalid(`over ${maxTransactionSteps} compares`);
  for (const compare of transaction.compare) {
    checkKey(compare.key);
    if (compare.kind === 'value') checkValue(compare.equals);
  }
  checkBranch(transaction.success);
  if (transaction.failure !== undefined) checkBranch(transaction.failure);
}

/** A key is written at most once per branch: a put under a delete, or two puts, have no order that both engines share. */
function checkBranch(operations: readonly Operation[]): void {
  if (operations.length > maxTransactionSteps) throw invalid(`over ${maxTransactionSteps} operations in a branch`);
  const puts = new Set<string>();
  for (const operation of operations) {
    if (operation.kind === 'delete-prefix') {
      checkPrefix(operation.prefix);
      continue;
    }
    checkKey(operation.key);
    if (operation.kind === 'delete') continue;
    checkValue(operation.value);
    if (puts.has(operation.key)) throw invalid(`the key "${operation.key}" is put twice in one branch`);
    puts.add(operation.key);
  }
  for (const operation of operations) {
    if (operation.kind === 'delete' && puts.has(operation.key)) {
      throw invalid(`the key "${operation.key}" is put and deleted in one branch`);
    }
    if (operation.kind !== 'delete-prefix') continue;
    for (const key of puts) {
      if (key.startsWith(operation.prefix)) throw invalid(`the key "${key}" is put and deleted in one branch`);
    }
  }
}

function checkValue(value: Uint8Array): void {
  if (value.byteLength > maxValueBytes) {
    throw new MeshError('SLV-3506', `A value has ${value.byteLength} bytes; ${maxValueBytes} are the limit.`);
  }
}

function invalid(rule: string): MeshError {
  return new MeshError('SLV-3507', `Invalid store request: ${rule}.`);
}
