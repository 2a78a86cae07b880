import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromBinary, toBinary, toJson } from '@bufbuild/protobuf';
import { StructSchema } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import { type MessageType, message, one, string } from '#runtime/protobuf/message.ts';
import { deltaRequest, discoveryRequest, secret } from './envoy-sds.ts';
import { type Json, struct, structOf } from './google.ts';
import { reflectionProtocol } from './grpc-reflection.ts';
import { jwtSvidRequest, validateJwtSvidRequest, x509SvidResponse } from './spiffe-workload-api.ts';

const bytes = fc.uint8Array({ maxLength: 64 });

describe('protobuf messages', () => {
  test('what was written is read', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: 'binary' }), bytes), { maxLength: 8 }),
        fc.dictionary(fc.string(), bytes, { maxKeys: 8 }),
        (svids, bundles) => {
          const decoded = x509SvidResponse.decode(
            x509SvidResponse.encode({
              svids: svids.map(([spiffeId, x509Svid]) => ({ spiffeId, x509Svid })),
              federatedBundles: new Map(Object.entries(bundles)),
            }),
          );
          assert.deepEqual(
            decoded.svids.map(({ spiffeId, x509Svid, hint }) => [spiffeId, [...x509Svid], hint]),
            svids.map(([spiffeId, x509Svid]) => [spiffeId, [...x509Svid], '']),
          );
          assert.deepEqual(
            [...decoded.federatedBundles].map(([name, der]) => [name, [...der]]),
            Object.entries(bundles).map(([name, der]) => [name, [...der]]),
          );
        },
      ),
      { numRuns: 40 },
    );
  });

  test('Struct agrees with @bufbuild/protobuf, both ways', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 6 }), (json) => {
        const plain = JSON.parse(JSON.stringify(json)) as { [name: string]: Json };
        const theirs = fromBinary(StructSchema, struct.encode(structOf(plain)));
        assert.deepEqual(JSON.parse(JSON.stringify(toJson(StructSchema, theirs))), plain);
        assert.deepEqual(struct.decode(toBinary(StructSchema, theirs)), struct.decode(struct.encode(structOf(plain))));
      }),
      { numRuns: 100 },
    );
  });

  test('of a oneof the last member counts', () => {
    const both = Buffer.concat([
      secret.encode({ tlsCertificate: {} }),
      secret.encode({ validationContext: { trustedCa: { inlineBytes: Buffer.from('x') } } }),
    ]);
    const decoded = secret.decode(both);
    assert.equal(decoded.tlsCertificate, undefined);
    assert.ok(decoded.validationContext !== undefined);
  });

  test('unknown fields and fields of another wire type are passed over', () => {
    // 15: varint 1; 16: fixed32; field 1 (a string) as a varint
    const noise = Buffer.from('7801850100000000080a', 'hex');
    const asked = jwtSvidRequest.encode({ audience: ['a', 'b'] });
    assert.deepEqual(jwtSvidRequest.decode(Buffer.concat([noise, asked])).audience, ['a', 'b']);
  });

  test('nesting is bounded, text is UTF-8', () => {
    interface Nest {
      readonly inner?: Nest | undefined;
    }
    const nest: MessageType<Nest, Nest> = message('Nest', { inner: one(1, () => nest) });
    let deep: Nest = {};
    for (let depth = 0; depth < 60; depth++) deep = { inner: deep };
    nest.decode(nest.encode(deep));
    for (let depth = 0; depth < 10; depth++) deep = { inner: deep };
    assert.throws(() => nest.decode(nest.encode(deep)), /nests deeper/);
    assert.throws(() => message('M', { text: string(1) }).decode(Uint8Array.of(10, 1, 0xff)));
  });

  test('bytes of all kinds are read or refused', () => {
    const types = [discoveryRequest, deltaRequest, jwtSvidRequest, validateJwtSvidRequest, struct];
    const all: readonly MessageType<object, object>[] = [...types, reflectionProtocol('v1').request];
    const seed = discoveryRequest.encode({
      resourceNames: ['default'],
      node: { id: 'x', metadata: structOf({ a: [1, null, { b: true }] }) },
    });
    const mutated = fc.tuple(fc.nat(seed.length - 1), fc.nat(255), fc.nat(seed.length)).map(([at, byte, end]) => {
      const copy = Uint8Array.from(seed);
      copy[at] = byte;
      return copy.subarray(0, end);
    });
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 512 })), (input) => {
        for (const type of all) {
          let read: object;
          try {
            read = type.decode(input);
          } catch (error) {
            assert.ok(error instanceof Error);
            continue;
          }
          type.encode(read); // what was read can be written
        }
      }),
      { numRuns: 300 },
    );
  });
});
