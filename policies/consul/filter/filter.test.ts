import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConsulError } from '../consul-error.ts';
import {
  agentServiceFields,
  catalogServiceFields,
  checkFields,
  nodeFields,
  serviceEntryFields,
} from './consul-fields.ts';
import type { Fields } from './fields.ts';
import { compileFilter } from './filter.ts';

const entry = {
  Node: { Node: 'n1', Address: '10.0.0.1', Datacenter: 'dc1', Meta: { rack: 'r1', 'a-b': 'x' }, TaggedAddresses: {} },
  Service: {
    ID: 'web-1',
    Service: 'web',
    Tags: ['v1', 'primary'],
    Meta: { version: '1.2' },
    Port: 8080,
    Weights: { Passing: 10, Warning: 1 },
    TaggedAddresses: { lan: { Address: '10.0.0.9', Port: 80 } },
    EnableTagOverride: true,
    Connect: {},
    Proxy: { Upstreams: [{ DestinationName: 'db', LocalBindPort: 5432 }, { DestinationName: 'cache' }] },
  },
  Checks: [
    { CheckID: 'a', Status: 'passing', ServiceTags: ['v1'] },
    { CheckID: 'b', Status: 'warning', ServiceTags: [] },
  ],
};

test('what passes', () => {
  for (const [text, passes] of [
    ['', true],
    ['Service.Service == web', true],
    ['Service.Service != web', false],
    ['Service.Service == We', false],
    ['e in Service.Service', true],
    ['Service.Service contains "x"', false],
    ['"x" not in Service.Service', true],
    ['Service.Service matches "e"', true],
    ['Service.Service matches "^e"', false],
    ['Service.Service matches "(?i)^WEB$"', true],
    ['Service.Service not matches "^e"', true],
    ['v1 in Service.Tags', true],
    ['v in Service.Tags', false],
    ['Service.Tags not contains v', true],
    ['Service.Tags is empty', false],
    ['Service.Port == 8080', true],
    ['Service.Port == "0x1F90"', true],
    ['Service.Port != 80', true],
    ['Service.EnableTagOverride == true', true],
    ['Service.EnableTagOverride == f', false],
    ['Service.Connect.Native == false', true],
    ['Service.Kind == ""', true],
    ['Service.Kind != "connect-proxy"', true],
    ['Service.Meta.version == "1.2"', true],
    ['version in Service.Meta', true],
    ['Service.Meta is not empty', true],
    ['Node.Meta["a-b"] == x', true],
    ['Node.TaggedAddresses is empty', true],
    // A key that is not there is equal to nothing, in nothing, matches nothing.
    ['Node.Meta.none == ""', false],
    ['Node.Meta.none != ""', true],
    ['Node.Meta.none matches ".*"', false],
    ['Node.Meta.none not matches ".*"', true],
    ['"" in Node.Meta.none', false],
    ['"" not in Node.Meta.none', true],
    ['Node.Meta.toString == x', false],
    ['toString in Node.Meta', false],
    ['Node.Meta["__proto__"] != x', true],
    ['Service.TaggedAddresses.lan.Port == 80', true],
    ['Service.TaggedAddresses.wan.Port == 80', false],
    // Of a list, one item is enough.
    ['Checks.Status == warning', true],
    ['Checks.Status != warning', true],
    ['not Checks.Status != passing', false],
    ['Checks.Status == critical', false],
    ['v1 in Checks.ServiceTags', true],
    ['Checks.ServiceTags is empty', true],
    ['Checks is not empty', true],
    ['Service.Proxy.Upstreams.DestinationName == cache', true],
    ['Service.Proxy.Upstreams.LocalBindPort == 0', true],
    ['Service.Proxy.Upstreams is empty', false],
    ['Service.Proxy.MeshGateway.Mode == ""', true],
    ['Service.Service == web and not (Service.Port == 1 or v9 in Service.Tags)', true],
  ] as const) {
    assert.equal(compileFilter(text, serviceEntryFields)(entry), passes, text);
  }
});

test('what is left out counts as empty', () => {
  for (const [text, passes] of [
    ['Service.Port == 0', true],
    ['Service.Tags is empty', true],
    ['Service.Meta is empty', true],
    ['Service.Meta.a is empty', undefined],
    ['Checks is empty', true],
    ['Checks.Status != passing', false],
    ['Node.Node == ""', true],
  ] as const) {
    if (passes === undefined) assert.throws(() => compileFilter(text, serviceEntryFields));
    else assert.equal(compileFilter(text, serviceEntryFields)({}), passes, text);
  }
});

test('what is refused, in Consul’s words', () => {
  for (const [text, fields, message] of [
    ['Nope == x', nodeFields, 'Selector "Nope" is not valid'],
    ['Meta.a.b == x', nodeFields, 'Selector "Meta.a.b" is not valid'],
    ['Service.Nope.More == x', serviceEntryFields, 'Selector "Service.Nope" is not valid'],
    ['constructor == x', nodeFields, 'Selector "constructor" is not valid'],
    ['Node is empty', nodeFields, 'Invalid match operator "Is Empty" for selector "Node"'],
    ['Meta == x', nodeFields, 'Invalid match operator "Equal" for selector "Meta"'],
    ['Tags == x', agentServiceFields, 'Invalid match operator "Equal" for selector "Tags"'],
    ['Tags matches x', agentServiceFields, 'Invalid match operator "Matches" for selector "Tags"'],
    ['8 in Port', agentServiceFields, 'Invalid match operator "In" for selector "Port"'],
    ['Service == x', serviceEntryFields, 'Invalid match operator "Equal" for selector "Service"'],
    ['x in Checks', serviceEntryFields, 'Invalid match operator "In" for selector "Checks"'],
    [
      'ServicePort == http',
      catalogServiceFields,
      'Failed to coerce value "http" for selector "ServicePort": strconv.ParseInt: parsing "http": invalid syntax',
    ],
    [
      'Port == 9223372036854775808',
      agentServiceFields,
      'Failed to coerce value "9223372036854775808" for selector "Port": strconv.ParseInt: parsing "9223372036854775808": value out of range',
    ],
    [
      'Connect.Native == yes',
      agentServiceFields,
      'Failed to coerce value "yes" for selector "Connect.Native": strconv.ParseBool: parsing "yes": invalid syntax',
    ],
    [
      'Status matches "["',
      checkFields,
      /^Failed to compile regular expression "\[": error parsing regexp: missing closing \]/,
    ],
    ['Status == ', checkFields, /^1:11 \(10\): no match found, expected: /],
    [`Status == ${'x'.repeat(9_000)}`, checkFields, 'longer than 8192 characters'],
  ] as const satisfies readonly (readonly [string, Fields, string | RegExp])[]) {
    assert.throws(
      () => compileFilter(text, fields),
      (error) => {
        assert.ok(error instanceof ConsulError);
        assert.equal(error.status, 400);
        const begin = 'Failed to create boolean expression evaluator: ';
        assert.ok(error.message.startsWith(begin));
        const rest = error.message.slice(begin.length);
        if (typeof message === 'string') assert.equal(rest, message);
        else assert.match(rest, message);
        return true;
      },
      text.slice(0, 60),
    );
  }
});

test('laws: a filter and its negation part a list, and and or do what they say', () => {
  const check = fc.record({
    Node: fc.constantFrom('n1', 'n2', 'n3'),
    Status: fc.constantFrom('passing', 'warning', 'critical'),
    ServiceTags: fc.uniqueArray(fc.constantFrom('a', 'b', 'c')),
    Output: fc.string({ maxLength: 5 }),
  });
  const atom = fc.constantFrom(
    'Node == n1',
    'Status != passing',
    'a in ServiceTags',
    'ServiceTags is empty',
    'Output matches "[a-z]"',
    'Output not contains a',
    'Node matches "n[12]"',
  );
  fc.assert(
    fc.property(fc.array(check, { maxLength: 6 }), atom, atom, (checks, left, right) => {
      const pass = (text: string) => checks.filter(compileFilter(text, checkFields));
      const [l, r] = [pass(left), pass(right)];
      assert.deepEqual(
        pass(`not ${left}`),
        checks.filter((one) => !l.includes(one)),
      );
      assert.deepEqual(
        pass(`${left} and ${right}`),
        checks.filter((one) => l.includes(one) && r.includes(one)),
      );
      assert.deepEqual(
        pass(`${left} or ${right}`),
        checks.filter((one) => l.includes(one) || r.includes(one)),
      );
      assert.deepEqual(pass(`not (${left} and ${right})`), pass(`not ${left} or not ${right}`));
    }),
  );
});
