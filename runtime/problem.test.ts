import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { createLogger } from './logging.ts';
import { problemResponse, readProblem } from './problem.ts';

const log = createLogger({ process: 'test', level: 'silent' });

test('a known error is answered with its code, words, fix and facts', async () => {
  const response = problemResponse(
    new MeshError('SLV-2002', 'web may not be db.', { detail: { service: 'db' }, cause: new Error('inner') }),
    log,
    '/v1/x',
  );
  assert.deepEqual([response.status, response.headers.get('content-type')], [403, 'application/problem+json']);
  const text = await response.text();
  assert.doesNotMatch(text, /inner/);
  assert.deepEqual(JSON.parse(text), {
    type: 'urn:selvedge:error:SLV-2002',
    title: 'Not permitted',
    status: 403,
    detail: 'web may not be db.',
    instance: '/v1/x',
    code: 'SLV-2002',
    fix: 'The caller is known but not entitled to this. Ask an operator for a grant or a token with the role that the message names.',
    context: { service: 'db' },
  });
  assert.equal(readProblem(Buffer.from(text))?.context?.['service'], 'db');
});

test('anything else is SLV-1007 with an id, and says nothing of its cause', async () => {
  for (const error of [new TypeError('cannot read /etc/secret'), 'a string', undefined]) {
    const text = await problemResponse(error, log).text();
    assert.match(text, /SLV-1007/);
    assert.match(JSON.parse(text).context.id, /^[0-9a-f-]{36}$/);
    assert.doesNotMatch(text, /secret|a string/);
  }
});

test('an answer that is no problem is none', () => {
  for (const body of ['', '<html>', '[]', '{"title":1}']) assert.equal(readProblem(Buffer.from(body)), undefined);
});
