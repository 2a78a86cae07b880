import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConsulError } from './consul-error.ts';
import { defaultPort, judgePorts, servicePortsSchema } from './service-ports.ts';

test('ports are judged as Consul judges them, in its words', () => {
  const rows: readonly [ports: object[], text: string | undefined][] = [
    [[], undefined],
    [
      [
        { Name: 'http', Port: 80, Default: true },
        { Name: 'admin', Port: 81 },
      ],
      undefined,
    ],
    [[{ Name: ' ', Port: 80, Default: true }], 'Ports.Name cannot be empty'],
    [[{ Name: 'http', Default: true }], 'Ports.Port must be non-zero'],
    [
      [
        { Name: 'a', Port: 1, Default: true },
        { Name: 'a', Port: 2 },
      ],
      'Ports.Name "a" has to be unique',
    ],
    [
      [
        { Name: 'a', Port: 1, Default: true },
        { Name: 'b', Port: 2, Default: true },
      ],
      'only one port can be marked as default',
    ],
    [[{ Name: 'a', Port: 1 }], 'one of the Ports must be marked as Default'],
  ];
  for (const [ports, text] of rows) {
    const judge = (): void => judgePorts(servicePortsSchema.parse(ports));
    if (text === undefined) judge();
    else assert.throws(judge, (error) => error instanceof ConsulError && error.message === text, text);
  }
});

test('the default port is that of Ports, else the one', () => {
  const Ports = servicePortsSchema.parse([
    { Name: 'a', Port: 1 },
    { Name: 'b', Port: 2, Default: true },
  ]);
  assert.deepEqual(
    [defaultPort({ Port: 0, Ports }), defaultPort({ Port: 9 }), defaultPort({ Port: 9, Ports: [] })],
    [2, 9, 9],
  );
});
