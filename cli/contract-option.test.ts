import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { descriptionSchema, grantPatternSchema } from '#policies/wire/identity-api.ts';
import { serialSchema } from '#policies/wire/revocation-api.ts';
import { fieldOf } from './contract-option.ts';
import { exitCode, exitCodeOf } from './exit-code.ts';

describe('an option that is a field of a contract', () => {
  const refused: [name: string, read: (text: string) => unknown, text: string, says: RegExp][] = [
    ['a serial', fieldOf(serialSchema), 'zz', /^"zz": must be a serial number in hex/],
    ['a serial of half a byte', fieldOf(serialSchema), 'abc', /two digits a byte/],
    ['no serial', fieldOf(serialSchema), '', /must be a serial number/],
    ['a grant', fieldOf(grantPatternSchema), '*web', /must be the name of a service, or the beginning of one/],
    ['a description', fieldOf(descriptionSchema), 'x'.repeat(257), /256/],
  ];
  for (const [name, read, text, says] of refused)
    test(`${name} that can not be is wrong usage, in words, and nobody is asked`, () => {
      assert.throws(
        () => read(text),
        (error) => error instanceof MeshError && says.test(error.message) && exitCodeOf(error) === exitCode.usage,
      );
    });

  test('what is good is read as the service reads it', () => {
    assert.equal(fieldOf(serialSchema)('00:0A:Fb'), '0afb');
    assert.equal(fieldOf(grantPatternSchema)('web-*'), 'web-*');
  });

  test('what only the service can refuse is wrong usage, too; what is not there, and what failed, is not', () => {
    const codes = (['SLV-1009', 'SLV-2190', 'SLV-2170', 'SLV-1007', 'SLV-2180'] as const).map((code) =>
      exitCodeOf(new MeshError(code, 'said by the service')),
    );
    assert.deepEqual(codes, [exitCode.usage, exitCode.usage, exitCode.no, exitCode.failure, exitCode.failure]);
  });
});
