import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';

const selvedge = join(import.meta.dirname, '..', 'bin', 'selvedge');

function run(
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(
      selvedge,
      [...args],
      { env: { PATH: process.env['PATH'], HOME: '/nonexistent', ...environment } },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
      },
    );
  });
}

describe('command line', () => {
  const cases: [name: string, args: string[], code: number, stderr: RegExp][] = [
    [
      'an unknown command, with the nearest',
      ['intentoin'],
      2,
      /unknown command 'intentoin'[\s\S]*Did you mean intention/,
    ],
    [
      'an unknown flag, with the nearest',
      ['intention', 'list', '--catalgo', 'x'],
      2,
      /unknown option '--catalgo'[\s\S]*Did you mean --catalog/,
    ],
    ['a missing argument', ['intention', 'create', 'web'], 2, /missing required argument 'destination'/],
    ['a missing option', ['serve', 'edge-proxy'], 2, /--service is needed \(or SELVEDGE_SERVICE\), or `services`/],
    [
      'a bad value',
      ['serve', 'edge-proxy', '--service', 'web', '--listen', 'here'],
      2,
      /--listen: "here" is not an address[\s\S]*SLV-1002/,
    ],
    [
      'a catalog that is not there',
      ['intention', 'list', '--catalog', 'http://127.0.0.1:1'],
      5,
      /ECONNREFUSED[\s\S]*SLV-1006/,
    ],
    [
      'https without a way to prove the server',
      ['intention', 'list', '--catalog', 'https://127.0.0.1:1'],
      2,
      /give --ca-file[\s\S]*SLV-1003/,
    ],
    [
      'two actions at once',
      ['intention', 'create', 'a', 'b', '--allow', '--deny'],
      2,
      /exactly one of --allow, --deny/,
    ],
    [
      'a token file that is not there',
      ['intention', 'list', '--token-file', '/nonexistent/token'],
      1,
      /no file \/nonexistent\/token/,
    ],
    [
      'a pin that is none',
      ['identity', 'status', '--ca-pin', 'sha256:zz'],
      2,
      /--ca-pin: "sha256:zz" is not a pin[\s\S]*SLV-1002/,
    ],
    [
      'a lifetime out of bounds',
      ['serve', 'identity', '--svid-ttl', '25h'],
      2,
      /--svid-ttl: "25h" is not within 1m to 24h/,
    ],
    [
      'a serial that is none',
      ['identity', 'revoke', '--serial', 'zz'],
      2,
      /--serial: "zz": must be a serial number in hex[\s\S]*SLV-1002/,
    ],
    ['an empty argument', ['identity', 'node', 'show', ''], 2, /missing required argument 'id'[\s\S]*SLV-1003/],
    ['a name that can not be', ['dev', '--datacenter', 'a b'], 2, /--datacenter: "a b" is not a valid name/],
    [
      'a pin and an identity service that can not be proven by it',
      [
        'serve',
        'edge-proxy',
        '--service',
        'web',
        '--ca-pin',
        `sha256:${'0'.repeat(64)}`,
        '--admin-addr',
        '127.0.0.1:0',
        '--listen',
        '127.0.0.1:0',
      ],
      2,
      /--ca-pin can not prove the identity service at http:[\s\S]*SLV-1002/,
    ],
    [
      'an agent that others could reach, before the join token is redeemed',
      ['serve', 'edge-proxy', '--service', 'web', '--agent-addr', '0.0.0.0:0', '--join-token-file', '/nonexistent'],
      2,
      /--agent-addr must be a loopback address, not 0.0.0.0[\s\S]*SLV-1002/,
    ],
    [
      'an admin API of another host',
      ['breaker', 'list', '--admin', 'http://10.0.0.5:19000'],
      2,
      /--admin: "http:\/\/10.0.0.5:19000" is no admin API[\s\S]*SLV-1002/,
    ],
    ['a command without its subcommand', ['identity'], 2, /Usage: selvedge identity/],
    ['no command at all', [], 2, /Usage: selvedge/],
  ];
  for (const [name, args, code, stderr] of cases) {
    test(`${name}: exit code ${code}, and a sentence`, async () => {
      const result = await run(args);
      assert.match(result.stderr, stderr);
      assert.equal(result.code, code);
      assert.equal(result.stdout, '');
      assert.doesNotMatch(result.stderr, /\n\s+at /, 'no stack');
    });
  }

  test('over plain http an operator token is not sent to another host, and that is said', async (t) => {
    const heard: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      heard.push(request.headers['x-consul-token']?.toString(), request.headers.authorization);
      response.end('[]');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const file = join(mkdtempSync(join(tmpdir(), 'selvedge-')), 'token');
    t.after(() => rmSync(dirname(file), { recursive: true }));
    writeFileSync(file, 'secret');
    // No address of loopback, but one that leads to it.
    const url = `http://0.0.0.0:${(server.address() as AddressInfo).port}`;
    const result = await run(['intention', 'list', '--catalog', url, '--token-file', file]);
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stderr, /the token in .* is not sent/);
    assert.deepEqual(heard, [undefined, undefined]);
  });

  test('an unknown SELVEDGE_ variable is named', async () => {
    const result = await run(['intention', 'list'], { SELVEDGE_CATALGO: 'x' });
    assert.equal(result.code, 2);
    assert.match(result.stderr, /SELVEDGE_CATALGO; did you mean SELVEDGE_CATALOG\?/);
  });

  test('--version and --help answer on standard output', async () => {
    assert.match((await run(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
    const help = await run(['serve', 'edge-proxy', '--help']);
    assert.equal(help.code, 0);
    assert.match(help.stdout, /--upstream <name=address>/);
  });
});
