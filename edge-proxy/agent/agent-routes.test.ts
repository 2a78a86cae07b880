import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { passUntil } from './testing/manual-time.ts';
import { startAgent } from './testing/running-agent.ts';

/** The agent API, call by call. In one file: it is a table of one API. */

const register = '/v1/agent/service/register';

describe('agent: services over Consul’s API', () => {
  it('registers what Consul’s Go client sends, and shows it as Consul does', async (t) => {
    const { send, catalog, agent } = await startAgent(t);
    const sent = {
      ID: 'web-1',
      Name: 'web',
      Tags: ['blue'],
      Port: 8080,
      Address: '10.0.0.7',
      TaggedAddresses: { lan: { Address: '10.0.0.7', Port: 8080 } },
      EnableTagOverride: false,
      Meta: { version: '3' },
      Weights: { Passing: 10, Warning: 1 },
      Check: { CheckID: 'web-ttl', TTL: '30s', Status: 'passing' },
      Checks: null,
      Proxy: null,
      Connect: null,
      Partition: 'default',
    };
    const answer = await send('PUT', register, sent);
    assert.deepEqual([answer.status, answer.text], [200, '']);
    const view = {
      ID: 'web-1',
      Service: 'web',
      Tags: ['blue'],
      Port: 8080,
      Address: '10.0.0.7',
      EnableTagOverride: false,
      Meta: { version: '3' },
      Weights: { Passing: 10, Warning: 1 },
      TaggedAddresses: { lan: { Address: '10.0.0.7', Port: 8080 } },
      CreateIndex: 0,
      ModifyIndex: 0,
      Datacenter: 'dc1',
    };
    assert.deepEqual((await send('GET', '/v1/agent/services')).json, { 'web-1': view });
    const one = await send('GET', '/v1/agent/service/web-1');
    const hash = one.headers.get('x-consul-contenthash');
    assert.ok(hash !== null && hash !== '');
    assert.deepEqual(one.json, { ...view, ContentHash: hash });
    assert.equal(one.headers.get('x-consul-lastcontact'), '0');
    assert.equal(one.headers.get('x-consul-index'), null);
    assert.deepEqual((await send('GET', '/v1/agent/checks')).json, {
      'web-ttl': {
        Node: 'vm-1',
        CheckID: 'web-ttl',
        Name: "Service 'web' check",
        Status: 'passing',
        Notes: '',
        Output: '',
        ServiceID: 'web-1',
        ServiceName: 'web',
        ServiceTags: ['blue'],
        Type: 'ttl',
        Interval: '0s',
        Timeout: '0s',
        ExposedPort: 0,
        Definition: {},
      },
    });
    assert.equal(await agent.synced(), true);
    assert.deepEqual(catalog.services.get('web-1'), {
      Kind: '',
      ...without(view, 'CreateIndex', 'ModifyIndex', 'Datacenter'),
    });
  });

  it('takes keys in any case, aliases and defaults, and ignores what it does not know', async (t) => {
    const { send } = await startAgent(t);
    await send('PUT', register, {
      name: 'db',
      PORT: 5432,
      tagged_addresses: {},
      novelty: { x: 1 },
      checks: [{ tcp: '127.0.0.1:5432', interval: '10s', deregister_critical_service_after: '90m' }, { ttl: '1m' }],
    });
    const { db } = (await send('GET', '/v1/agent/services')).json;
    assert.deepEqual(
      [db.ID, db.Service, db.Port, db.Tags, db.Weights],
      ['db', 'db', 5432, [], { Passing: 1, Warning: 1 }],
    );
    const checks = (await send('GET', '/v1/agent/checks')).json;
    assert.deepEqual(Object.keys(checks), ['service:db:1', 'service:db:2']);
    const { Type, Interval, Timeout, Definition, Status } = checks['service:db:1'];
    assert.deepEqual([Type, Interval, Timeout, Status], ['tcp', '10s', '0s', 'critical']);
    assert.deepEqual(Definition, { TCP: '127.0.0.1:5432', Interval: '10s', Timeout: '0s' });
  });

  const refused: readonly [title: string, body: unknown, status: number, text: RegExp][] = [
    ['no JSON', '{', 400, /^Request decode failed: /],
    ['a list', [], 400, /^Request decode failed: /],
    ['no name', { ID: 'x' }, 400, /^Missing service name$/],
    ['a name that no SPIFFE ID can hold', { Name: 'a/../b' }, 400, /^Invalid service name "a\/\.\.\/b"$/],
    ['a key twice', '{"Name":"a","name":"b"}', 400, /Name is given twice/],
    ['a port beyond ports', { Name: 'a', Port: 65_536 }, 400, /^Request decode failed: Port: /],
    ['too many tags', { Name: 'a', Tags: Array(129).fill('t') }, 400, /Tags/],
    ['a gateway', { Name: 'a', Kind: 'mesh-gateway' }, 501, /"mesh-gateway" are not offered/],
    ['a proxy of nobody', { Name: 'a', Kind: 'connect-proxy', Port: 1 }, 400, /DestinationServiceName/],
    [
      'a sidecar with an id',
      { Name: 'a', Connect: { SidecarService: { ID: 'b' } } },
      400,
      /^Validation failed: A SidecarService cannot specify an ID/,
    ],
    [
      'a sidecar of a sidecar',
      { Name: 'a', Connect: { SidecarService: { Connect: { SidecarService: {} } } } },
      400,
      /cannot have a nested SidecarService$/,
    ],
    [
      'a sidecar that is a gateway',
      { Name: 'a', Connect: { SidecarService: { Kind: 'mesh-gateway' } } },
      501,
      /not offered/,
    ],
    ['a check without kind', { Name: 'a', Check: { Name: 'c' } }, 400, /TTL must be > 0 for TTL checks/],
    ['a check of two kinds', { Name: 'a', Check: { TTL: '1s', HTTP: 'http://x', Interval: '1s' } }, 400, /cannot both/],
    ['a check without interval', { Name: 'a', Check: { HTTP: 'http://x' } }, 400, /Interval must be > 0/],
    [
      'a script',
      { Name: 'a', Check: { ScriptArgs: ['sh', '-c', 'true'], Interval: '1s' } },
      500,
      /^Scripts are disabled on this agent from remote calls; .*--enable-local-script-checks$/,
    ],
    [
      'an alias with an interval',
      { Name: 'a', Check: { AliasService: 'b', HTTP: 'http://x', Interval: '1s' } },
      400,
      /^Invalid check: Interval cannot be set for Alias checks$/,
    ],
    [
      'an alias with a TTL',
      { Name: 'a', Check: { AliasNode: 'n', TTL: '1s' } },
      400,
      /^Invalid check: TTL must be not be set for Alias checks$/,
    ],
    [
      'a warning after critical',
      { Name: 'a', Check: { TTL: '1s', FailuresBeforeWarning: 2 } },
      400,
      /^Invalid check: FailuresBeforeWarning can't be higher than FailuresBeforeCritical$/,
    ],
    [
      'a negative size',
      { Name: 'a', Check: { TTL: '1s', OutputMaxSize: -1 } },
      400,
      /^Invalid check: MaxOutputMaxSize must be positive$/,
    ],
    [
      'a probe without interval',
      { Name: 'a', Check: { H2PING: 'x:1' } },
      400,
      /^Invalid check: Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks$/,
    ],
    [
      'two targets',
      { Name: 'a', Check: { HTTP: 'http://x', TCP: 'x:1', Interval: '1s' } },
      400,
      /HTTP and TCP cannot both/,
    ],
    [
      'a target without port',
      { Name: 'a', Check: { GRPC: 'x/svc', Interval: '1s' } },
      400,
      /GRPC "x" is not host:port/,
    ],
    [
      'a container',
      { Name: 'a', Check: { DockerContainerID: 'c', ScriptArgs: ['x'], Interval: '1s' } },
      501,
      /DockerContainerID checks are not offered; this agent runs HTTP, TCP, UDP/,
    ],
    [
      'a unit of systemd',
      { Name: 'a', Check: { OSService: 'nginx', Interval: '1s' } },
      501,
      /OSService checks are not offered/,
    ],
    ['a NUL', { Name: 'a', Check: { Args: ['x\0y'], Interval: '1s' } }, 400, /must hold no NUL/],
    [
      'a file to read',
      { Name: 'a', Check: { HTTP: 'file:///etc/passwd', Interval: '1s' } },
      400,
      /not an http or https URL/,
    ],
    [
      'a header that splits',
      { Name: 'a', Check: { HTTP: 'http://x', Interval: '1s', Header: { a: ['b\r\nc'] } } },
      400,
      /Header/,
    ],
    ['a duration of days', { Name: 'a', Check: { TTL: '1d' } }, 400, /invalid duration/],
    ['a negative duration', { Name: 'a', Check: { TTL: '-1s' } }, 400, /invalid duration/],
    [
      'an unknown status',
      { Name: 'a', Check: { TTL: '1s', Status: 'fine' } },
      400,
      /^Status for checks must 'passing', 'warning', 'critical'$/,
    ],
    [
      'a check twice',
      {
        Name: 'a',
        Checks: [
          { CheckID: 'c', TTL: '1s' },
          { CheckID: 'c', TTL: '1s' },
        ],
      },
      400,
      /given twice/,
    ],
  ];
  it('refuses in plain text', async (t) => {
    const { send, catalog } = await startAgent(t);
    for (const [title, body, status, text] of refused) {
      const answer = await send('PUT', register, body);
      assert.equal(answer.status, status, `${title}: ${answer.text}`);
      assert.match(answer.text, text, title);
      assert.equal(answer.headers.get('content-type'), 'text/plain; charset=utf-8', title);
    }
    assert.deepEqual((await send('GET', '/v1/agent/services')).json, {});
    assert.deepEqual(catalog.calls, []);
  });

  it('knows no service or check that is not there, in Consul’s words', async (t) => {
    const { send } = await startAgent(t);
    const service = 'Unknown service ID "x". Ensure that the service ID is passed, not the service name.';
    const check = 'Unknown check ID "x". Ensure that the check ID is passed, not the check name.';
    for (const [method, path, status, text] of [
      ['PUT', '/v1/agent/service/deregister/x', 404, service],
      ['PUT', '/v1/agent/service/maintenance/x?enable=true', 404, service],
      ['PUT', '/v1/agent/service/maintenance/x', 400, 'Missing value for enable'],
      ['GET', '/v1/agent/service/x', 404, 'unknown service ID: x'],
      ['PUT', '/v1/agent/check/deregister/x', 404, check],
      ['PUT', '/v1/agent/check/pass/x', 404, check],
      ['GET', '/v1/agent/health/service/id/x?format=text', 404, 'ServiceId x not found'],
      ['GET', '/v1/agent/health/service/name/x?format=text', 404, 'ServiceName x Not Found'],
      ['POST', '/v1/agent/services', 405, 'method POST not allowed'],
      ['PUT', '/v1/agent/maintenance', 400, 'Missing value for enable'],
      [
        'GET',
        '/v1/agent/services?filter=Nope==1',
        400,
        'Failed to create boolean expression evaluator: Selector "Nope" is not valid',
      ],
      [
        'GET',
        '/v1/agent/checks?filter=Status+is+empty',
        400,
        'Failed to create boolean expression evaluator: Invalid match operator "Is Empty" for selector "Status"',
      ],
    ] as const) {
      const answer = await send(method, path);
      assert.deepEqual([answer.status, answer.text], [status, text], path);
    }
    assert.equal((await send('POST', '/v1/agent/services')).headers.get('allow'), 'OPTIONS,GET');
    assert.equal((await send('GET', '/v1/agent/nonsense')).status, 404);
  });

  it('refuses what Consul’s agents have and it has not, and says where to look', async (t) => {
    const { send } = await startAgent(t);
    for (const [method, path, text] of [
      ['GET', '/v1/agent/metrics/stream', /ask \/v1\/agent\/metrics$/],
      ['GET', '/v1/agent/monitor', /standard error/],
      ['PUT', '/v1/agent/reload', /restart/],
      ['PUT', '/v1/agent/join/10.0.0.1', /--catalog/],
      ['PUT', '/v1/agent/leave', /stop the edge proxy/],
      ['PUT', '/v1/agent/token/default', /agent\.token/],
    ] as const) {
      const answer = await send(method, path);
      assert.equal(answer.status, 501, path);
      assert.match(answer.text, text, path);
    }
  });

  it('filters services and checks', async (t) => {
    const { send } = await startAgent(t);
    await send('PUT', register, { Name: 'web', Port: 80, Tags: ['v1'], Check: { TTL: '30s', Status: 'passing' } });
    await send('PUT', register, { Name: 'db', Port: 5432, Meta: { tier: 'data' }, Check: { TTL: '30s' } });
    const ids = async (path: string, filter: string) =>
      Object.keys((await send('GET', `${path}?filter=${encodeURIComponent(filter)}`)).json);
    assert.deepEqual(await ids('/v1/agent/services', 'Port == 80 and v1 in Tags'), ['web']);
    assert.deepEqual(await ids('/v1/agent/services', 'Meta.tier == data or Service == nothing'), ['db']);
    assert.deepEqual(await ids('/v1/agent/services', ''), ['web', 'db']);
    assert.deepEqual(await ids('/v1/agent/checks', 'Status != passing'), ['service:db']);
    assert.deepEqual(await ids('/v1/agent/checks', 'ServiceTags contains v1'), ['service:web']);
  });

  it('takes the whole host out of service and back', async (t) => {
    const { send, catalog, agent } = await startAgent(t);
    await send('PUT', register, { Name: 'web', Check: { TTL: '30s', Status: 'passing' } });
    const health = async () => (await send('GET', '/v1/agent/health/service/name/web?format=text')).text;
    await send('PUT', '/v1/agent/maintenance?enable=true');
    assert.equal(await health(), 'maintenance');
    const check = (await send('GET', '/v1/agent/checks')).json['_node_maintenance'];
    assert.deepEqual([check.Name, check.Status, check.ServiceID], ['Node Maintenance Mode', 'critical', '']);
    assert.match(check.Notes, /enabled for this node, but no reason was provided/);
    assert.equal(await agent.synced(), true);
    assert.ok(catalog.checks.has('_node_maintenance'));
    await send('PUT', '/v1/agent/maintenance?enable=false');
    assert.equal(await health(), 'passing');
    assert.equal(await agent.synced(), true);
    assert.ok(!catalog.checks.has('_node_maintenance'));
  });

  it('blocks on the hash of a service until it changes, its wait is over or it goes', async (t) => {
    const { send, time } = await startAgent(t);
    await send('PUT', register, { Name: 'web', Port: 1 });
    const hash = (await send('GET', '/v1/agent/service/web')).json.ContentHash;
    const blocked = send('GET', `/v1/agent/service/web?hash=${hash}`);
    await send('PUT', register, { Name: 'other' });
    await send('PUT', register, { Name: 'web', Port: 2 });
    const changed = await blocked;
    assert.equal(changed.json.Port, 2);
    assert.notEqual(changed.json.ContentHash, hash);
    const waiting = send('GET', `/v1/agent/service/web?hash=${changed.json.ContentHash}&wait=30s`);
    assert.equal((await passUntil(time, 1000, waiting)).json.ContentHash, changed.json.ContentHash);
    const going = send('GET', `/v1/agent/service/web?hash=${changed.json.ContentHash}`);
    await send('PUT', '/v1/agent/service/deregister/web');
    assert.equal((await going).status, 404);
    assert.equal((await send('GET', '/v1/agent/service/web?wait=soon')).status, 400);
  });

  it('says how a service is by status code, maintenance included', async (t) => {
    const { send } = await startAgent(t);
    await send('PUT', register, { ID: 'a', Name: 'web', Check: { TTL: '30s', Status: 'passing' } });
    await send('PUT', register, { ID: 'b', Name: 'web', Check: { TTL: '30s', Status: 'passing' } });
    const health = async (path: string) => {
      const [json, text] = [await send('GET', path), await send('GET', `${path}?format=text`)];
      assert.equal(json.status, text.status);
      return [json.status, text.text];
    };
    const name = '/v1/agent/health/service/name/web';
    assert.deepEqual(await health(name), [200, 'passing']);
    await send('PUT', '/v1/agent/check/warn/service:b?note=slow');
    assert.deepEqual(await health(name), [429, 'warning']);
    assert.deepEqual(await health('/v1/agent/health/service/id/a'), [200, 'passing']);
    await send('PUT', '/v1/agent/check/update/service:b', { Status: 'critical', Output: 'down' });
    assert.deepEqual(await health(name), [503, 'critical']);
    await send('PUT', '/v1/agent/service/maintenance/a?enable=true&reason=upgrade');
    assert.deepEqual(await health(name), [503, 'maintenance']);
    const info = (await send('GET', '/v1/agent/health/service/id/a')).json;
    const [, maintenance] = info.Checks;
    assert.deepEqual([info.AggregatedStatus, info.Service.ID, info.Checks.length], ['maintenance', 'a', 2]);
    assert.deepEqual(
      [maintenance.CheckID, maintenance.Name, maintenance.Status, maintenance.Notes],
      ['_service_maintenance:a', 'Service Maintenance Mode', 'critical', 'upgrade'],
    );
    await send('PUT', '/v1/agent/service/maintenance/a?enable=false');
    assert.deepEqual(await health('/v1/agent/health/service/id/a'), [200, 'passing']);
    assert.equal((await send('PUT', '/v1/agent/service/maintenance/a?enable=perhaps')).status, 400);
  });

  it('shows itself, as Prometheus wants it', async (t) => {
    const { send } = await startAgent(t);
    const { Config } = (await send('GET', '/v1/agent/self')).json;
    assert.deepEqual([Config.Datacenter, Config.NodeName, Config.Server], ['dc1', 'vm-1', false]);
    const [member, ...others] = (await send('GET', '/v1/agent/members')).json;
    assert.deepEqual([member.Name, member.Addr, member.Status, others], ['vm-1', '10.0.0.1', 1, []]);
    assert.match((await send('GET', '/v1/agent/version')).json.HumanVersion, /^\d+\.\d+/);
  });

  it('keeps web pages and, with tokens, everybody without one out', async (t) => {
    const { send } = await startAgent(t, { access: { kind: 'token', check: (token) => token === 'good' } });
    const page = { origin: 'http://evil.example', 'x-consul-token': 'good' };
    assert.equal((await send('PUT', register, { Name: 'a' }, page)).status, 403);
    for (const headers of [{}, { 'x-consul-token': 'bad' }, { authorization: 'Basic good' }] as Record<
      string,
      string
    >[]) {
      assert.equal((await send('GET', '/v1/agent/services', undefined, headers)).status, 403);
    }
    assert.equal((await send('GET', '/v1/agent/services', undefined, { 'x-consul-token': 'good' })).status, 200);
    assert.equal((await send('GET', '/v1/agent/services', undefined, { authorization: 'Bearer good' })).status, 200);
    assert.equal((await send('GET', '/v1/agent/services?token=good')).status, 200);
  });

  it('bounds services, and checks of a service', async (t) => {
    const { agent, send } = await startAgent(t);
    for (let i = 0; i < 256; i++) agent.register({ Name: `s${i}` });
    assert.equal((await send('PUT', register, { Name: 'one-more' })).status, 400);
    for (let i = 0; i < 64; i++) {
      const answer = await send('PUT', '/v1/agent/check/register', { Name: `c${i}`, ServiceID: 's0', TTL: '1m' });
      assert.equal(answer.status, 200);
    }
    const tooMany = await send('PUT', '/v1/agent/check/register', { Name: 'c64', ServiceID: 's0', TTL: '1m' });
    assert.deepEqual([tooMany.status, tooMany.text], [400, 'More than 64 checks of one service']);
  });
});

describe('agent: authorize', () => {
  it('answers in Consul’s form, and no on any error', async (t) => {
    const uri = 'spiffe://mesh.test/ns/default/dc/dc1/svc/web';
    const { send } = await startAgent(t, {
      authorize: (target) => {
        if (target === 'broken') throw new Error('no intentions');
        return { allowed: target === 'db', rule: 'web -> db (allow)', reason: 'exact match' };
      },
    });
    const ask = async (body: unknown) => send('POST', '/v1/agent/connect/authorize', body);
    const yes = await ask({ Target: 'db', ClientCertURI: uri, ClientCertSerial: '04:00' });
    assert.deepEqual([yes.status, yes.json], [200, { Authorized: true, Reason: 'web -> db (allow): exact match' }]);
    assert.deepEqual((await ask({ Target: 'x', ClientCertURI: uri })).json.Authorized, false);
    const broken = await ask({ Target: 'broken', ClientCertURI: uri });
    assert.deepEqual([broken.status, broken.json.Authorized], [200, false]);
    for (const [body, text] of [
      [{ ClientCertURI: uri }, 'Target service must be specified'],
      [{ Target: 'db', ClientCertURI: 'https://web' }, 'ClientCertURI not a valid Connect identifier'],
      [{ Target: 'db', ClientCertURI: 'spiffe://mesh.test/agent/1' }, 'ClientCertURI not a valid Service identifier'],
    ] as const) {
      const answer = await ask(body);
      assert.deepEqual([answer.status, answer.text], [400, text]);
    }
  });
});

function without(view: Record<string, unknown>, ...names: string[]) {
  return Object.fromEntries(Object.entries(view).filter(([name]) => !names.includes(name)));
}
