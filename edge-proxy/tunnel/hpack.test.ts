import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { HpackDecoder, maxAnswerFields, maxFieldSectionSize } from './hpack-decoder.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import { errorCode, Http2ConnectionError } from './http2.ts';
import { encodeFields } from './memory-wire.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

function throwsCode(code: number, act: () => unknown): void {
  assert.throws(act, (error) => error instanceof Http2ConnectionError && error.code === code);
}

/** RFC 7541 Appendix C: blocks of one connection, in order. */
const examples: Array<{ title: string; tableSize?: number; blocks: Array<[block: string, fields: string[][]]> }> = [
  {
    title: 'C.2 single fields',
    blocks: [
      ['400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572', [['custom-key', 'custom-header']]],
      ['040c 2f73 616d 706c 652f 7061 7468', [[':path', '/sample/path']]],
      ['1008 7061 7373 776f 7264 0673 6563 7265 74', [['password', 'secret']]],
      ['82', [[':method', 'GET']]],
    ],
  },
  {
    title: 'C.3 requests without Huffman',
    blocks: [
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        [
          [':method', 'GET'],
          [':scheme', 'http'],
          [':path', '/'],
          [':authority', 'www.example.com'],
        ],
      ],
      [
        '8286 84be 5808 6e6f 2d63 6163 6865',
        [
          [':method', 'GET'],
          [':scheme', 'http'],
          [':path', '/'],
          [':authority', 'www.example.com'],
          ['cache-control', 'no-cache'],
        ],
      ],
    ],
  },
  {
    title: 'C.4 requests with Huffman',
    blocks: [
      [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        [
          [':method', 'GET'],
          [':scheme', 'http'],
          [':path', '/'],
          [':authority', 'www.example.com'],
        ],
      ],
      [
        '8286 84be 5886 a8eb 1064 9cbf',
        [
          [':method', 'GET'],
          [':scheme', 'http'],
          [':path', '/'],
          [':authority', 'www.example.com'],
          ['cache-control', 'no-cache'],
        ],
      ],
      [
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
        [
          [':method', 'GET'],
          [':scheme', 'https'],
          [':path', '/index.html'],
          [':authority', 'www.example.com'],
          ['custom-key', 'custom-value'],
        ],
      ],
    ],
  },
  {
    title: 'C.6 answers with Huffman and eviction, table of 256',
    tableSize: 256,
    blocks: [
      [
        '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
        [
          [':status', '302'],
          ['cache-control', 'private'],
          ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
          ['location', 'https://www.example.com'],
        ],
      ],
      [
        '4883 640e ffc1 c0bf',
        [
          [':status', '307'],
          ['cache-control', 'private'],
          ['date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
          ['location', 'https://www.example.com'],
        ],
      ],
    ],
  },
];

suite('HPACK', () => {
  for (const { title, tableSize, blocks } of examples) {
    test(`decodes RFC 7541 ${title}`, () => {
      const decoder = new HpackDecoder();
      if (tableSize !== undefined) decoder.decode(hex('3fe1 01'));
      for (const [block, fields] of blocks) assert.deepEqual(decoder.decode(hex(block)), fields);
    });
  }

  test('what it encodes, it decodes', () => {
    const text = fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
      maxLength: 300,
    });
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text), { maxLength: 20 }), (fields) => {
        assert.deepEqual(new HpackDecoder().decode(encodeFields(fields)), fields);
      }),
    );
    const head: Array<[string, string]> = [
      [':method', 'CONNECT'],
      [':status', '200'],
      [':status', '403'],
      ['www-authenticate', 'x'],
    ];
    assert.deepEqual(new HpackDecoder().decode(encodeFields(head)), head);
  });

  test('head after head, whatever table the peer allows: what it encodes, it decodes', () => {
    const field = fc.tuple(
      fc.constantFrom(':authority', 'authorization', 'date', 'user-agent'),
      fc.constantFrom('a', 'a', 'b', 'c'.repeat(900), 'd'.repeat(2_000)),
    );
    const head = fc.array(field, { maxLength: 6 });
    const size = fc.constantFrom(0, 1, 40, 1_000, 4_096, 100_000);
    const steps = fc.array(fc.oneof({ weight: 5, arbitrary: head }, size), { minLength: 20, maxLength: 60 });
    fc.assert(
      fc.property(steps, (taken) => {
        const encoder = new HpackEncoder();
        const decoder = new HpackDecoder();
        for (const step of taken) {
          if (typeof step === 'number') encoder.limitTable(step);
          else assert.deepEqual(decoder.decode(encoder.encode([], step)), step);
        }
      }),
    );
  });

  test('a repeated field becomes an index once it came twice, a secret never', () => {
    const encoder = new HpackEncoder();
    const lengthOf = (name: string, value: string): number => encoder.encode([], [[name, value]]).length;
    const lengths = (name: string, ...values: string[]): number[] => values.map((value) => lengthOf(name, value));
    lengthOf('x', 'y');
    assert.deepEqual(
      lengths('user-agent', 'curl', 'curl', 'curl'),
      [7, 7, 7],
      'the peer has not said yet that it keeps a table',
    );
    encoder.limitTable(4_096);
    lengthOf('x', 'y');
    assert.deepEqual(lengths('user-agent', 'curl', 'curl', 'wget', 'curl', 'curl', 'curl'), [6, 1, 7, 7, 6, 1]);
    for (const name of ['authorization', 'cookie', 'set-cookie', ':path', 'x-api-key'])
      assert.equal(new Set(lengths(name, ...Array<string>(4).fill('secret'))).size, 1, name);
    encoder.limitTable(0);
    assert.equal(lengthOf('user-agent', 'curl'), 8, 'behind the word that there is no table any more');
    assert.deepEqual(lengths('user-agent', 'curl', 'curl'), [7, 7]);
  });

  const faults: Array<[title: string, block: string]> = [
    ['index 0', '80'],
    ['index past the tables', 'be'],
    ['integer too long', 'ff8080 8080 8001'],
    ['integer cut short', 'ff'],
    ['string cut short', '000361'],
    ['table size over what SETTINGS allow', '3fe2 1f'],
    ['table size update after a field', '8220'],
    ['Huffman padding of eight bits', '0085 f2b2 4a87 ff ff 0161'],
    ['Huffman padding of zeros', '0081 18 0161'],
    ['Huffman EOS', '0084 ffff ffff 0161'],
  ];
  for (const [title, block] of faults) {
    test(`COMPRESSION_ERROR: ${title}`, () =>
      throwsCode(errorCode.compressionError, () => new HpackDecoder().decode(hex(block))));
  }

  test('once the peer has acknowledged that there is no table, its next block must say so first', () => {
    const without = new HpackDecoder();
    without.limitTable(0);
    throwsCode(errorCode.compressionError, () => without.decode(hex('82')));
    const conformant = new HpackDecoder();
    conformant.decode(hex('400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'));
    conformant.limitTable(0);
    assert.deepEqual(conformant.decode(hex('2082')), [[':method', 'GET']]);
    throwsCode(errorCode.compressionError, () => conformant.decode(hex('be')));
  });

  test('what may not go over HTTP/2 may not as an index either', () => {
    const decoder = new HpackDecoder();
    const verdicts = [
      encodeIndexed('x', 'a\nb'),
      hex('82be'),
      hex('82'),
      encodeIndexed('x', 'y'),
      hex('be'),
      hex('bf'),
    ].map((block) => {
      decoder.decode(block);
      return decoder.wellFormed;
    });
    assert.deepEqual(verdicts, [false, false, true, true, true, false]);
  });

  test('bounds what comes out, not what goes in', () => {
    const decoder = new HpackDecoder();
    // One entry of 4,000 octets, then references of one octet each (CVE-2026-47774's shape).
    decoder.decode(encodeIndexed('x', 'y'.repeat(4_000)));
    for (const [reader, block] of [
      [decoder, Buffer.alloc(60, 0xbe)],
      [new HpackDecoder(), Buffer.alloc(101, 0x82)],
      [new HpackDecoder(), encodeFields([['x', 'y'.repeat(maxFieldSectionSize)]])],
    ] as const) {
      assert.ok(reader.decode(block).length <= 100);
      assert.ok(reader.over);
    }
    const reader = new HpackDecoder(maxAnswerFields);
    assert.equal(reader.decode(Buffer.alloc(1_000, 0x82)).length, 1_000);
    assert.ok(!reader.over);
    reader.decode(Buffer.alloc(1_001, 0x82));
    assert.ok(reader.over);
    // What was not kept was read: the table is as the peer has it.
    assert.deepEqual(decoder.decode(Buffer.of(0x82)), [[':method', 'GET']]);
    assert.ok(!decoder.over);
  });

  test('reads no further what is far over the bounds', () => {
    const decoder = new HpackDecoder();
    decoder.decode(encodeIndexed('x', 'y'.repeat(4_000)));
    assert.throws(() => decoder.decode(Buffer.alloc(99, 0xbe)), { code: errorCode.enhanceYourCalm });
  });

  test('random blocks decode or are faults, nothing else', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 4 }), (blocks) => {
        const decoder = new HpackDecoder();
        try {
          for (const block of blocks) decoder.decode(Buffer.from(block));
        } catch (error) {
          assert.ok(error instanceof Http2ConnectionError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

/** A literal with incremental indexing, which our encoder never makes. */
function encodeIndexed(name: string, value: string): Buffer {
  const literal = encodeFields([[name, value]]);
  literal[0] = 0x40;
  return literal;
}
