import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type OptionSet, resolveConfiguration } from './configuration.ts';
import { address, durationMs, integer, oneOf, onOff, serviceUrl, text } from './option-kinds.ts';

const directory = mkdtempSync(join(tmpdir(), 'selvedge-configuration-'));
after(() => rmSync(directory, { recursive: true }));
let files = 0;
function yaml(content: string): string {
  const path = join(directory, `${++files}.yaml`);
  writeFileSync(path, content);
  return path;
}

const options = {
  httpAddr: { parse: address, description: 'where', default: '127.0.0.1:8500' },
  level: { parse: oneOf('info', 'debug'), description: 'how much', default: 'info' },
  upstream: { parse: text, description: 'whom', repeatable: true },
  dataDir: { parse: text, description: 'state' },
  config: { parse: text, description: 'file' },
} as const satisfies OptionSet;
const names = Object.keys(options);
const resolve = (flags: Record<string, string | string[]>, environment: Record<string, string> = {}) =>
  resolveConfiguration(options, flags, environment, names);

async function faultOf(work: () => unknown): Promise<MeshError> {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof MeshError, String(error));
    return error;
  }
  assert.fail('nothing was refused');
}

describe('configuration', () => {
  test('flag over variable over file over default', async () => {
    const config = yaml('level: debug\ndata-dir: /from/file\nupstream: [a, b]\n');
    assert.deepEqual(await resolve({}), {
      httpAddr: { host: '127.0.0.1', port: 8500 },
      level: 'info',
      upstream: [],
      dataDir: undefined,
      config: undefined,
    });
    assert.equal((await resolve({ config })).dataDir, '/from/file');
    assert.equal((await resolve({ config }, { SELVEDGE_DATA_DIR: '/from/variable' })).dataDir, '/from/variable');
    assert.equal(
      (await resolve({ config, dataDir: '/from/flag' }, { SELVEDGE_DATA_DIR: '/from/variable' })).dataDir,
      '/from/flag',
    );
    assert.deepEqual((await resolve({ config })).upstream, ['a', 'b']);
    assert.deepEqual((await resolve({}, { SELVEDGE_UPSTREAM: 'x, y' })).upstream, ['x', 'y']);
    assert.deepEqual((await resolve({ upstream: ['p', 'q'] }, { SELVEDGE_UPSTREAM: 'x' })).upstream, ['p', 'q']);
    assert.equal((await resolve({}, { SELVEDGE_CONFIG: config })).level, 'debug');
  });

  const refused: [
    name: string,
    flags: Record<string, string>,
    environment: Record<string, string>,
    code: string,
    text: RegExp,
  ][] = [
    [
      'an unknown variable, with the nearest',
      {},
      { SELVEDGE_LEVL: 'x' },
      'SLV-1001',
      /SELVEDGE_LEVL; did you mean SELVEDGE_LEVEL\?/,
    ],
    [
      'a bad value of a flag, with its place',
      { level: 'debg' },
      {},
      'SLV-1002',
      /--level: "debg" is none of info, debug; did you mean debug\?/,
    ],
    [
      'a bad value of a variable',
      {},
      { SELVEDGE_HTTP_ADDR: 'here' },
      'SLV-1002',
      /SELVEDGE_HTTP_ADDR: "here" is not an address/,
    ],
    ['a file that is not there', { config: join(directory, 'none.yaml') }, {}, 'SLV-1005', /none\.yaml can't be read/],
    [
      'an unknown key, with its line',
      { config: yaml('level: info\nlevle: debug\n') },
      {},
      'SLV-1001',
      /\.yaml:2; did you mean level\?/,
    ],
    ['a key twice', { config: yaml('level: info\nlevel: debug\n') }, {}, 'SLV-1002', /\.yaml:2/],
    ['what is no mapping', { config: yaml('- a\n') }, {}, 'SLV-1002', /a mapping/],
    ['what is no YAML', { config: yaml('level: [\n') }, {}, 'SLV-1002', /\.yaml:/],
    ['a mapping where a text belongs', { config: yaml('level: {a: b}\n') }, {}, 'SLV-1002', /\.yaml:1: level/],
  ];
  for (const [name, flags, environment, code, expected] of refused) {
    test(`refuses ${name}`, async () => {
      const fault = await faultOf(() => resolve(flags, environment));
      assert.equal(fault.code, code);
      assert.match(fault.message, expected);
    });
  }

  test('lists every fault at once', async () => {
    const fault = await faultOf(() => resolve({ level: 'x', httpAddr: 'y' }, { SELVEDGE_NONSENSE: 'z' }));
    assert.equal(fault.message.split('\n').length, 3);
  });

  test('a required option that is missing is named with its variable', async () => {
    const needed = { service: { parse: text, description: 'which', required: true } } as const satisfies OptionSet;
    assert.match(
      (await faultOf(() => resolveConfiguration(needed, {}, {}, ['service']))).message,
      /--service is needed \(or SELVEDGE_SERVICE\)/,
    );
  });
});

describe('option kinds', () => {
  const cases: [parse: (text: string) => unknown, given: string, expected: unknown][] = [
    [address, '[::1]:80', { host: '::1', port: 80 }],
    [address, 'localhost:0', { host: '127.0.0.1', port: 0 }],
    [durationMs, '1h30m', 5_400_000],
    [durationMs, '250ms', 250],
    [durationMs, '1.5s', 1_500],
    [serviceUrl, 'https://10.0.0.5:8500/', 'https://10.0.0.5:8500'],
    [integer(1, 10), '10', 10],
    [onOff, 'true', true],
    [onOff, 'false', false],
  ];
  for (const [parse, given, expected] of cases) test(`takes ${given}`, () => assert.deepEqual(parse(given), expected));

  const refused: [parse: (text: string) => unknown, given: string][] = [
    [address, '127.0.0.1'],
    [address, '127.0.0.1:65536'],
    [address, 'example.org:80'],
    [address, '999.0.0.1:80'],
    [address, '127.0.0.1:80 '],
    [durationMs, ''],
    [durationMs, '10'],
    [durationMs, '-5s'],
    [durationMs, '5 s'],
    [durationMs, '9999999999999d'],
    [serviceUrl, 'ftp://x'],
    [serviceUrl, 'http://user:secret@x'],
    [serviceUrl, 'http://x/path'],
    [serviceUrl, 'x:80'],
    [integer(1, 10), '0'],
    [integer(1, 10), '1e1'],
    [onOff, 'yes'],
    [text, ''],
  ];
  for (const [parse, given] of refused) {
    test(`refuses "${given}"`, async () => assert.equal((await faultOf(() => parse(given))).code, 'SLV-1002'));
  }
});
