import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { jsonAnswer, textAnswer } from '#runtime/http-answer.ts';
import { listenHttp } from '#runtime/http-server.ts';
import { createLogger } from '#runtime/logging.ts';
import { answerAdmin } from './admin-routes.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const routes = {
  'GET /things': () => textAnswer('two\n'),
  'GET /things/*': ({ rest, url }: { rest: string; url: URL }) => jsonAnswer({ rest, in: url.searchParams.get('in') }),
  'POST /things/set': () => {
    throw new Error('secret inside');
  },
};
const admin = await listenHttp({
  answer: answerAdmin(routes, log),
  ...{ host: '127.0.0.1', port: 0, log, clock: Date.now },
});
after(() => admin.close(0));

const cases: [ask: string, host: string | undefined, status: number, body: RegExp][] = [
  ['GET /things', undefined, 200, /^two\n$/],
  ['HEAD /things', undefined, 200, /^$/],
  ['GET /things/7?in=all', undefined, 200, /^\{"rest":"7","in":"all"\}$/],
  ['GET /things', 'localhost:19000', 200, /^two\n$/],
  ['GET /things', '[::1]:19000', 200, /^two\n$/],
  ['GET /things', 'rebound.example:19000', 400, /asked as localhost/],
  ['GET /things', '127.0.0.1:x', 400, /malformed/],
  ['GET http://rebound.example/things', undefined, 400, /asked as localhost/],
  ['GET /things/7/more', undefined, 404, /SLV-1010/],
  ['GET /constructor', undefined, 404, /SLV-1010/],
  ['PUT /things', undefined, 404, /PUT \/things is not served here/],
  ['POST /things/set', undefined, 500, /SLV-1007/],
];
for (const [ask, host, status, body] of cases) {
  test(`${ask}${host === undefined ? '' : ` of ${host}`}: ${status}`, async () => {
    const [method, path] = ask.split(' ');
    const headers = host === undefined ? {} : { host };
    const sent = request({ host: '127.0.0.1', port: admin.port, method, path, headers, agent: false }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    const answered = await text(response);
    assert.equal(response.statusCode, status, answered);
    assert.match(answered, body);
    assert.doesNotMatch(answered, /secret/);
  });
}
