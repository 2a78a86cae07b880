import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readInput } from './input-file.ts';

test('JSON and YAML are read; what is not there or neither is named, with the place', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'selvedge-input-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  assert.deepEqual(readInput(file('a', '{"Kind": "mesh"}')), { Kind: 'mesh' });
  assert.deepEqual(readInput(file('b', 'Kind: mesh')), { Kind: 'mesh' });
  for (const [path, message] of [
    [join(folder, 'none'), /^There is no file .*none\.$/],
    [folder, /: EISDIR\.$/],
    [file('c', 'a: 1\n{bad\n'), /c holds no JSON or YAML that could be read: .* at line 2, column \d+$/],
  ] as const) {
    assert.throws(
      () => readInput(path),
      (error) => error instanceof MeshError && error.code === 'SLV-1005' && message.test(error.message),
    );
  }
});
