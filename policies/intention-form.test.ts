import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMeshError } from './errors/mesh-error.ts';
import { completeIntention, formatIntention, parseIntention, parseIntentionName } from './intention-form.ts';
import { formatServiceIntentions, parseServiceIntentions } from './service-intentions-form.ts';

const names = { source: 'web', destination: 'db' };
const record = {
  createdAtMs: Date.UTC(2026, 10, 23),
  updatedAtMs: Date.UTC(2026, 10, 24),
  createIndex: 11,
  modifyIndex: 12,
};

test("what Go's client sends: zero values, nulls, read-only fields", () => {
  const body = {
    ID: '',
    Description: '',
    SourcePartition: '',
    SourceNS: 'default',
    SourceName: 'web',
    DestinationNS: '',
    DestinationName: 'db',
    SourceType: 'consul',
    Action: 'allow',
    Permissions: null,
    DefaultAddr: '',
    DefaultPort: 0,
    Meta: null,
    Precedence: 0,
    CreatedAt: '0001-01-01T00:00:00Z',
    UpdatedAt: '0001-01-01T00:00:00Z',
    Hash: null,
    CreateIndex: 0,
    ModifyIndex: 0,
  };
  assert.deepEqual(parseIntention(body), { source: 'web', destination: 'db', action: 'allow' });
});

test('keys in other cases and with underscores; names of the URL before those of the body', () => {
  assert.deepEqual(
    parseIntention({ source_name: 'x', destinationname: 'y', ACTION: 'deny', description: 'why' }, names),
    {
      ...names,
      action: 'deny',
      description: 'why',
    },
  );
});

test('an intention is shown as Consul shows it, and reads back as itself', () => {
  const l4 = completeIntention(parseIntention({ Action: 'allow' }, names), record);
  assert.deepEqual(formatIntention(l4), {
    Description: '',
    SourceNS: 'default',
    SourceName: 'web',
    DestinationNS: 'default',
    DestinationName: 'db',
    SourceType: 'consul',
    Action: 'allow',
    Meta: {},
    Precedence: 9,
    CreatedAt: '2026-11-23T00:00:00.000Z',
    UpdatedAt: '2026-11-24T00:00:00.000Z',
    CreateIndex: 11,
    ModifyIndex: 12,
  });
  const body = {
    Description: 'L7',
    Meta: { team: 'a' },
    Permissions: [
      {
        Action: 'allow',
        HTTP: {
          path_prefix: '/v1',
          Header: [
            { Name: 'x-a', Exact: '1', IgnoreCase: true },
            { Name: 'x-b', Present: true, Invert: true },
            { Name: 'x-c', Regex: 'a+' },
          ],
          Methods: ['get', 'POST'],
        },
      },
      { Action: 'deny', HTTP: { PathRegex: '/.*' } },
    ],
  };
  const draft = parseIntention(body, names);
  const shown = formatIntention(completeIntention(draft, record));
  assert.ok(!('Action' in shown));
  assert.deepEqual(parseIntention(JSON.parse(JSON.stringify(shown))), draft);
  assert.deepEqual(draft.permissions?.[0], {
    action: 'allow',
    http: {
      pathPrefix: '/v1',
      headers: [
        { name: 'x-a', exact: '1', ignoreCase: true },
        { name: 'x-b', present: true, invert: true },
        { name: 'x-c', regex: 'a+' },
      ],
      methods: ['GET', 'POST'],
    },
  });
});

test('permissions on a wildcard destination are taken: a guard', () => {
  const guard = parseIntention(permitting({ PathPrefix: '/admin' }), { source: '*', destination: '*' });
  assert.equal(completeIntention(guard, record).precedence, 5);
});

const permitting = (http: object) => ({ Permissions: [{ Action: 'deny', HTTP: http }] });
const header = (match: object) => permitting({ Header: [match] });
const refusals: readonly (readonly [object | null, string])[] = [
  [null, 'expected object'],
  [[], 'expected object'],
  [{}, "Sources[0].Action must be set to 'allow' or 'deny'"],
  [{ Action: 'Allow' }, "Sources[0].Action must be set to 'allow' or 'deny'"],
  [{ Action: 7 }, 'Action: '],
  [{ Action: 'allow', Permissions: [], Extra: 1 }, 'unknown field "Extra"'],
  [{ Actoin: 'allow' }, 'unknown field "Actoin", did you mean Action?'],
  [{ Action: 'allow', action: 'deny' }, 'Action comes twice'],
  [{ Action: 'allow', SourceType: 'vault' }, "Sources[0].Type must be set to 'consul'"],
  [{ Action: 'allow', SourceNS: 'team' }, 'Sources[0].Namespace: only'],
  [{ Action: 'allow', DestinationPartition: 'p' }, 'DestinationPartition: only'],
  [{ Action: 'allow', SourcePeer: 'p' }, 'Sources[0].Peer: cannot specify a peer here'],
  [{ Action: 'allow', Description: 'x'.repeat(513) }, 'Sources[0].Description exceeds maximum length 512'],
  [{ Action: 'allow', Meta: { a: 'x'.repeat(513) } }, 'Meta value for key "a" exceeds maximum length 512'],
  [
    { Action: 'allow', Meta: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`${i}`, ''])) },
    'Meta exceeds maximum element count 64',
  ],
  [
    { Action: 'allow', ...permitting({ PathExact: '/a' }) },
    'Sources[0].Action must be omitted if Permissions are specified',
  ],
  [
    { Permissions: [{ HTTP: { PathExact: '/a' } }] },
    "Sources[0].Permissions[0].Action must be set to 'allow' or 'deny'",
  ],
  [{ Permissions: [{ Action: 'deny' }] }, 'Sources[0].Permissions[0].HTTP is required'],
  [
    { Permissions: [{ Action: 'deny', HTTP: { PathExact: '/a' }, JWT: {} }] },
    'Permissions[0].JWT.Providers: at least one provider is required',
  ],
  [{ Action: 'allow', JWT: { Providers: [{}] } }, 'JWT.Providers[0]: JWT provider name is required'],
  [
    { Action: 'allow', JWT: { Providers: [{ Name: 'okta', VerifyClaims: [{ Value: 'x' }] }] } },
    'JWT.Providers[0].VerifyClaims[0].Path is required',
  ],
  [
    { Action: 'allow', JWT: { Providers: [{ Name: 'okta', Issuer: 'x' }] } },
    'JWT.Providers[0]: unknown field "Issuer"',
  ],
  [{ Permissions: Array.from({ length: 129 }, () => permitting({ PathExact: '/a' }).Permissions[0]) }, 'Permissions: '],
  [permitting({}), 'Sources[0].Permissions[0].HTTP should not be empty'],
  [permitting({ PathExact: 'a' }), "Sources[0].Permissions[0].HTTP.PathExact doesn't start with '/': \"a\""],
  [permitting({ PathPrefix: 'a' }), "Sources[0].Permissions[0].HTTP.PathPrefix doesn't start with '/': \"a\""],
  [
    permitting({ PathExact: '/a', PathRegex: 'b' }),
    'HTTP should only contain at most one of PathExact, PathPrefix, or PathRegex',
  ],
  [permitting({ PathExact: '/a%2f../b' }), 'HTTP.PathExact: can never match'],
  [permitting({ PathExact: '/a?b' }), 'HTTP.PathExact: can never match'],
  [permitting({ PathPrefix: '/a/../../b' }), 'HTTP.PathPrefix: can never match'],
  [permitting({ PathPrefix: '/a%2' }), 'HTTP.PathPrefix: can never match'],
  [permitting({ PathRegex: '/(a' }), 'HTTP.PathRegex: error parsing regexp'],
  [permitting({ PathRegex: '(?=a)' }), 'HTTP.PathRegex: error parsing regexp'],
  [permitting({ PathRegex: `/${'a{500}'.repeat(10)}` }), 'HTTP.PathRegex: the pattern compiles to more than'],
  [permitting({ PathExact: `/${'a'.repeat(1_024)}` }), 'HTTP.PathExact: '],
  [permitting({ Methods: ['GET', 'get'] }), 'HTTP.Methods contains "GET" more than once'],
  [permitting({ Methods: ['FETCH'] }), 'HTTP.Methods contains an invalid method "FETCH"'],
  [permitting({ Header: Array.from({ length: 33 }, () => ({ Name: 'a', Present: true })) }), 'HTTP.Header: '],
  [header({ Present: true }), 'HTTP.Header[0] missing required Name field'],
  [
    header({ Name: 'a' }),
    'HTTP.Header[0] should only contain one of Present, Exact, Prefix, Suffix, Contains, or Regex',
  ],
  [header({ Name: 'a', Exact: 'b', Regex: 'c' }), 'HTTP.Header[0] should only contain one of'],
  [
    header({ Name: 'a', Present: true, IgnoreCase: true }),
    'Header[0] should set one of Exact, Prefix, Suffix, or Contains when using IgnoreCase',
  ],
  [header({ Name: 'a b', Exact: 'b' }), 'HTTP.Header[0]: the name of the header'],
  [header({ Name: 'a', Exact: 'b', Range: {} }), 'unknown field "Range"'],
];

test("validation in Consul's words", () => {
  for (const [body, flaw] of refusals) {
    assert.throws(
      () => parseIntention(body, names),
      (error) => isMeshError(error, 'SLV-5004') && error.message.includes(flaw),
      flaw,
    );
  }
});

test('names', () => {
  for (const [text, name] of [
    ['web', 'web'],
    ['*', '*'],
    ['default/web', 'web'],
    ['default/default/*', '*'],
  ] as const) {
    assert.equal(parseIntentionName(text), name);
  }
  for (const [text, flaw] of [
    ['', /Name is required/],
    ['web*', /wildcard character '\*' cannot be used with partial values/],
    ['a b', /not a valid name/],
    ['team/web', /only the namespace/],
    ['peer:p/web', /cannot specify a peer here/],
    ['a/b/c/d', /too many slashes/],
  ] as const) {
    assert.throws(
      () => parseIntentionName(text),
      (error) => isMeshError(error, 'SLV-5004') && flaw.test(error.message),
      text,
    );
  }
  assert.throws(() => parseIntention({ Action: 'allow' }), /Name is required/);
});

test('a config entry and the list of its intentions are one truth', () => {
  const entry = {
    kind: 'service-intentions',
    name: 'db',
    sources: [
      { name: '*', action: 'deny', type: 'consul' },
      { name: 'web', permissions: [{ action: 'allow', http: { path_exact: '/x' } }], description: 'd' },
    ],
    meta: { team: 'a' },
  };
  const { destination, intentions } = parseServiceIntentions(entry);
  assert.equal(destination, 'db');
  const complete = intentions.map((draft, index) => completeIntention(draft, { ...record, modifyIndex: 12 + index }));
  const shown = formatServiceIntentions(complete);
  assert.deepEqual(shown, {
    Kind: 'service-intentions',
    Name: 'db',
    Sources: [
      {
        Name: 'web',
        Permissions: [{ Action: 'allow', HTTP: { PathExact: '/x' } }],
        Precedence: 9,
        Type: 'consul',
        Description: 'd',
      },
      { Name: '*', Action: 'deny', Precedence: 8, Type: 'consul' },
    ],
    Meta: { team: 'a' },
    CreateIndex: 11,
    ModifyIndex: 13,
  });
  assert.deepEqual(parseServiceIntentions(shown).intentions.toReversed(), intentions);
  assert.equal(formatServiceIntentions([]), undefined);
});

test("a config entry is judged in Consul's words", () => {
  const web = { Name: 'web', Action: 'allow' };
  for (const [entry, flaw] of [
    [{ Name: 'db' }, 'At least one source is required'],
    [{ Sources: [web] }, 'Name is required'],
    [{ Name: 'd*', Sources: [web] }, "Name: wildcard character '*' cannot be used with partial values"],
    [{ Name: 'db', Sources: [{ Action: 'allow' }] }, 'Sources[0].Name is required'],
    [{ Name: 'db', Sources: [web, { Name: 'w*', Action: 'allow' }] }, "Sources[1].Name: wildcard character '*'"],
    [{ Name: 'db', Sources: [web, web] }, 'Sources[1] defines "web" more than once'],
    [{ Name: 'db', Sources: [{ ...web, LegacyMeta: { a: 'b' } }] }, 'Sources[0].LegacyMeta must be omitted'],
    [{ Name: 'db', Sources: [{ ...web, Acton: 'x' }] }, 'Sources[0]: unknown field "Acton"'],
    [{ Name: 'db', Sources: [web], JWT: {} }, 'JWT.Providers: at least one provider is required'],
    [{ Kind: 'mesh', Name: 'db', Sources: [web] }, "Kind must be 'service-intentions'"],
  ] as const) {
    assert.throws(
      () => parseServiceIntentions(entry),
      (error) => isMeshError(error, 'SLV-5004') && error.message.includes(flaw),
      flaw,
    );
  }
});
