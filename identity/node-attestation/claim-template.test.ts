import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { isServiceName } from '#policies/service-name.ts';
import { grantPatternSchema } from '#policies/wire/identity-api.ts';
import { fillTemplate, parseTemplate, type TemplateKind } from './claim-template.ts';

const claims = {
  sub: 'system:serviceaccount:prod:web',
  'kubernetes.io': { namespace: 'prod', pod: { name: 'web-7d9', uid: 'c0ffee' }, serviceaccount: { name: 'web' } },
  'https://example.test/role': 'api',
  email: 'vm-1@project.iam.test',
  arn: 'arn:aws:sts::1:assumed-role/Fleet/i-07',
  repository: 'org/repo',
  number: 42,
  fraction: 1.5,
  yes: true,
  nothing: null,
  empty: '',
  upper: 'Web',
  one: ['web'],
  two: ['web', 'db'],
  none: [],
  object: {},
  control: 'selvedge-catalog',
  selvedge: 'selvedge',
  dotted: 'a.b',
  'with space': 'x',
};

const fill = (text: string, kind: TemplateKind = 'name', from: Record<string, unknown> = claims): string =>
  fillTemplate(parseTemplate(text, kind), kind, from);

describe('templates that can be filled in', () => {
  const cases: readonly [template: string, filled: string, kind?: TemplateKind][] = [
    ['web', 'web'],
    ['{{sub | afterLast ":"}}', 'web'],
    ['{{ sub | after "system:serviceaccount:" | before ":" }}', 'prod'],
    ['{{ kubernetes.io/pod/name }}', 'web-7d9'],
    ['k8s-{{ kubernetes.io/namespace }}.{{ kubernetes.io/pod/name }}', 'k8s-prod.web-7d9'],
    ['{{ "https://example.test/role" }}', 'api'],
    ['{{ "with space" }}', 'x'],
    ['{{ email | before "@" }}', 'vm-1'],
    ['{{ arn | afterLast "/" }}', 'i-07'],
    ['{{ repository | after "/" }}', 'repo'],
    ['{{ number }}', '42'],
    ['{{ upper | lower }}', 'web'],
    ['{{ one }}', 'web'],
    ['{{ kubernetes.io/namespace }}.*', 'prod.*', 'grant'],
    ['*', '*', 'grant'],
    ['web-*', 'web-*', 'grant'],
    ['{{ kubernetes.io/namespace }}-api', 'prod-api', 'grant'],
    ['selvedge-{{ one }}', 'selvedge-web', 'grant'],
    ['{{ dotted }}-{{ one }}', 'a.b-web'],
  ];
  for (const [template, filled, kind] of cases) {
    test(`${template} -> ${filled}`, () => assert.equal(fill(template, kind), filled));
  }
});

describe('templates that are refused at start, with the place', () => {
  const cases: readonly [template: string, says: RegExp, kind?: TemplateKind][] = [
    ['', /character 1: a name is expected/],
    ['{{ sub', /character 1: this \{\{ has no \}\}/],
    ['a{{ sub }', /character 9: \| and a function, or \}\}/],
    ['{{ }}', /character 4: the name of a claim is expected/],
    ['{{ a//b }}', /character 6: the name of a claim/],
    ['{{ a/ }}', /character 6: the name of a claim/],
    ['{{ "a }}', /character 4: the name of a claim/],
    ['{{ a b }}', /character 6: \| and a function/],
    ['{{ a$b }}', /character 5: between the members of a claim stands \//],
    ['{{ sub | uper }}', /character 10: there is no function "uper"/],
    ['{{ sub | aftr ":" }}', /did you mean after\?/],
    ['{{ sub | }}', /there is no function ""; there are lower, before, after, afterLast/],
    ['{{ sub | after }}', /after takes a text in quotes/],
    ['{{ sub | after "" }}', /after takes a text in quotes/],
    ['{{ sub | lower ":" }}', /\| and a function, or \}\}/],
    ['a b', /character 2: " " is not part of a name/],
    ['a/{{ sub }}', /character 2: "\/" is not part of a name/],
    ['{ sub }', /character 1: "\{" is not part of a name; a claim is written \{\{ sub \}\}/],
    ['{{ a }}}', /character 8: "\}"/],
    ['{{ a }}{{ b }}', /character 8: between two claims there must be text/],
    ['{{ a }}*', /character 8: between a claim and the \*/, 'grant'],
    ['*-{{ a }}', /\* stands at the end only/, 'grant'],
    ['a**', /\* stands at the end only/, 'grant'],
    ['web-*', /a node has no \* in its name/],
    ['-web', /"-web" is no name/],
    ['x'.repeat(129), /is no name/],
    ['{{ a }}.'.repeat(100), /at most 512 characters/],
    [`{{ ${'a/'.repeat(9)}a }}`, /at most 8 deep/],
    ['ä', /is not part of a name/],
  ];
  for (const [template, says, kind = 'name'] of cases) {
    test(JSON.stringify(template.slice(0, 40)), () => {
      assert.throws(
        () => parseTemplate(template, kind),
        (error) => {
          assert.ok(isMeshError(error, 'SLV-1002'), String(error));
          assert.match(error.message, says);
          return true;
        },
      );
    });
  }
});

describe('claims that do not do: a refusal, never a guess', () => {
  const cases: readonly [template: string, says: RegExp, kind?: TemplateKind][] = [
    ['{{ missing }}', /there is no missing/],
    ['{{ sub/deeper }}', /there is no sub\/deeper/],
    ['{{ one/0 }}', /there is no one\/0/],
    ['{{ toString }}', /there is no toString/],
    ['{{ constructor/name }}', /there is no constructor/],
    ['{{ __proto__/x }}', /there is no __proto__/],
    ['{{ nothing }}', /there is no nothing/],
    ['{{ empty }}', /empty is empty/],
    ['{{ two }}', /two has 2 values/],
    ['{{ none }}', /none has 0 values/],
    ['{{ object }}', /neither a text nor a whole number/],
    ['{{ yes }}', /neither a text nor a whole number/],
    ['{{ fraction }}', /neither a text nor a whole number/],
    ['{{ sub }}', /characters that no name has/],
    ['{{ email | after "#" }}', /holds no "#" \(after\)/],
    ['{{ email | after "test" }}', /email is empty/],
    ['{{ control }}', /name of the control plane/, 'grant'],
    ['{{ selvedge }}-*', /name of the control plane/, 'grant'],
    ['{{ selvedge }}-{{ one }}', /name of the control plane/],
    ['{{ kubernetes.io/pod/name }}-{{ one }}', /holds the "-" that comes after it/],
    ['{{ kubernetes.io/pod/name }}-*', /holds the "-" that comes after it/, 'grant'],
    ['{{ dotted }}.{{ one }}', /holds the "\." that comes after it/],
  ];
  for (const [template, says, kind] of cases) {
    test(template, () => {
      assert.throws(
        () => fill(template, kind),
        (error) => {
          assert.ok(isMeshError(error, 'SLV-2106'), String(error));
          assert.match(error.message, says);
          return true;
        },
      );
    });
  }
  for (const odd of [
    '*',
    'a*',
    '/',
    'a/b',
    '..',
    '.',
    'a b',
    'a\n',
    'ä',
    'a%2f',
    '{{ sub }}',
    'a'.repeat(129),
    '\u0000',
  ]) {
    test(`the value ${JSON.stringify(odd.slice(0, 20))}`, () => {
      assert.throws(
        () => fill('{{ it }}', 'grant', { it: odd }),
        (error) => isMeshError(error, 'SLV-2106'),
      );
    });
  }
});

/** Texts near the language, so that many of them are right. */
const nearTemplate = fc
  .array(
    fc.oneof(
      fc.constantFrom('{{', '}}', ' ', '|', '"', '/', '*', '.', '-', 'lower', 'after', 'before', 'sub', 'a', '_', '::'),
      fc.string({ maxLength: 3, unit: 'binary' }),
    ),
    { maxLength: 14 },
  )
  .map((parts) => parts.join(''));
const value = fc.oneof(
  fc.string({ maxLength: 12, unit: 'binary' }),
  fc.constantFrom('web', '*', 'a*', '..', 'selvedge-x', 'x-'),
);
const kinds = fc.constantFrom<TemplateKind>('name', 'grant');

describe('properties', () => {
  test('whatever is written is read or refused with a place; what is read is read again the same', () => {
    fc.assert(
      fc.property(nearTemplate, kinds, (text, kind) => {
        try {
          const template = parseTemplate(text, kind);
          assert.deepEqual(parseTemplate(template.text, kind), template);
        } catch (error) {
          assert.ok(isMeshError(error, 'SLV-1002'), String(error));
          assert.match(error.message, /^character \d+: /);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test('whatever is claimed, what comes out is a name; a * or selvedge- in it was in the template', () => {
    fc.assert(
      fc.property(nearTemplate, kinds, value, value, (text, kind, a, sub) => {
        try {
          const filled = fill(text, kind, { a, sub });
          assert.ok(kind === 'name' ? isServiceName(filled) : grantPatternSchema.safeParse(filled).success, filled);
          assert.equal(filled.includes('*'), text.endsWith('*'));
          assert.ok(!filled.startsWith('selvedge-') || text.startsWith('selvedge-'));
        } catch (error) {
          assert.ok(isMeshError(error, 'SLV-1002') || isMeshError(error, 'SLV-2106'), String(error));
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test('two different pairs of claims never make one name', () => {
    const word = fc.string({ unit: fc.constantFrom('a', '-', '.'), minLength: 1, maxLength: 4 });
    const separator = fc.string({ unit: fc.constantFrom('-', '.', 'a'), minLength: 1, maxLength: 2 });
    let compared = 0;
    fc.assert(
      fc.property(word, word, word, word, separator, (a, b, c, d, between) => {
        fc.pre(a !== c || b !== d);
        const made = [
          { a, b },
          { a: c, b: d },
        ].map((pair) => {
          try {
            return fill(`x{{ a }}${between}{{ b }}x`, 'name', pair);
          } catch {
            return undefined; // refused is different from anything
          }
        });
        if (made[0] === undefined || made[1] === undefined) return;
        compared += 1;
        assert.notEqual(made[0], made[1]);
      }),
      { numRuns: 5_000 },
    );
    assert.ok(compared > 100, `${compared} pairs were compared`);
  });
});
