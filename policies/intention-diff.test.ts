import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Permission } from './intention.ts';
import { diffIntentions, type IntentionRules } from './intention-diff.ts';

const path = (action: 'allow' | 'deny', pathPrefix: string): Permission => ({ action, http: { pathPrefix } });

test('a write is told by what it took away and what it brought', () => {
  const cases: readonly [IntentionRules | undefined, IntentionRules | undefined, readonly string[]][] = [
    [undefined, undefined, []],
    [undefined, { action: 'allow' }, ['+ allow']],
    [{ action: 'deny' }, undefined, ['- deny']],
    [{ action: 'allow' }, { action: 'allow' }, []],
    [{ action: 'allow' }, { action: 'deny', description: 'why' }, ['- allow', '+ deny', '+ description "why"']],
    [{ action: 'allow' }, { permissions: [path('allow', '/a')] }, ['- allow', '+ permission 1: allow PathPrefix "/a"']],
    [
      { permissions: [path('deny', '/a'), path('allow', '/b'), path('allow', '/c')] },
      { permissions: [path('deny', '/a'), path('allow', '/c'), path('deny', '/d')] },
      ['- permission 2: allow PathPrefix "/b"', '+ permission 3: deny PathPrefix "/d"'],
    ],
    [
      { action: 'deny', observe: true, expiresAtMs: 0 },
      { action: 'deny', expiresAtMs: 1 },
      ['- observe', '- expires 1970-01-01T00:00:00.000Z', '+ expires 1970-01-01T00:00:00.001Z'],
    ],
    // Order is meaning: a rule that moved is told.
    [
      { permissions: [path('deny', '/a'), path('allow', '/')] },
      { permissions: [path('allow', '/'), path('deny', '/a')] },
      ['- permission 1: deny PathPrefix "/a"', '+ permission 2: deny PathPrefix "/a"'],
    ],
  ];
  for (const [before, after, expected] of cases) assert.deepEqual(diffIntentions(before, after), expected);
});

test('property: the lines taken from and brought to the old list make the new one', () => {
  const list = fc.array(
    fc.constantFrom('/a', '/b', '/c', '/d').map((one) => path('deny', one)),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(list, list, (before, after) => {
      const lines = diffIntentions({ permissions: before }, { permissions: after });
      const texts = (permissions: readonly Permission[]) =>
        permissions.map(({ http }) => `deny PathPrefix ${JSON.stringify(http.pathPrefix)}`);
      const placed = (sign: string) =>
        new Map(
          lines
            .map((line) => /^(.) permission (\d+): (.*)$/.exec(line))
            .filter((match) => match?.[1] === sign)
            .map((match) => [Number(match?.[2]) - 1, match?.[3]]),
        );
      const [gone, come] = [placed('-'), placed('+')];
      for (const [place, text] of gone) assert.equal(texts(before)[place], text);
      const kept = texts(before).filter((_, place) => !gone.has(place));
      const made = texts(after).map((_, place) => (come.has(place) ? come.get(place) : kept.shift()));
      assert.deepEqual(made, texts(after));
      assert.deepEqual(kept, []);
    }),
  );
});
