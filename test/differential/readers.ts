import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Child } from '../child.ts';
import { freePorts } from '../free-ports.ts';
import { buildGo, whyNoGo } from '../go-program.ts';
import { listening } from '../sidecars.ts';
import { findSystemTool } from '../system-tool.ts';
import { waitFor } from '../wait-for.ts';
import { type AnswerClient, GoClient, NodeClient, OwnClient } from './answer-clients.ts';
import { encodeEcho } from './reading.ts';

const nginx = await findSystemTool({ binary: 'nginx', debian: 'nginx' });
const haproxy = await findSystemTool({ binary: 'haproxy', debian: 'haproxy' });

/** A server that answers with what it has read (see readEcho). */
export interface Reader {
  readonly name: 'nginx' | 'HAProxy' | 'net/http' | 'node:http';
  readonly port: number;
}

/** False, or why nothing can be compared here. In CI nothing is skipped: the tests fail instead. */
export async function skipWithoutReaders(): Promise<string | false> {
  const go = await whyNoGo();
  return nginx.skip || haproxy.skip || (go !== undefined && process.env['CI'] !== 'true' ? go : false);
}

/**
 * Starts all four. nginx and HAProxy pass on what they have read, encoded anew, to the one in Go, which tells it.
 *
 * @param directory theirs to write in
 */
export async function startReaders(directory: string): Promise<{ readers: Reader[]; end(): Promise<void> }> {
  const go = new Child('go', await buildGo('differential'), [], directory);
  const goPort = Number(await go.fact('listening'));
  const [nginxPort = 0, haproxyPort = 0] = await freePorts(2);
  const children = [...startProxies(directory, { nginx: nginxPort, haproxy: haproxyPort }, goPort), go];
  const node = nodeReader();
  const nodePort = await listening(node);
  for (const port of [nginxPort, haproxyPort]) await waitFor(`port ${port}`, () => accepts(port), 20_000);
  return {
    readers: [
      { name: 'nginx', port: nginxPort },
      { name: 'HAProxy', port: haproxyPort },
      { name: 'net/http', port: goPort },
      { name: 'node:http', port: nodePort },
    ],
    async end() {
      node.close();
      node.closeAllConnections();
      await Promise.all(children.map((child) => child.end()));
    },
  };
}

/**
 * Starts those that ask: nginx and HAProxy as proxies before `port`, through which we ask, net/http and node:http themselves, and we.
 *
 * @param directory is made, theirs to write in
 */
export async function startAnswerClients(
  directory: string,
  port: number,
): Promise<{ clients: AnswerClient[]; end(): Promise<void> }> {
  mkdirSync(directory);
  const [nginxPort = 0, haproxyPort = 0] = await freePorts(2);
  const program = await buildGo('differential');
  const go = new Child('go', program, [String(port)], directory);
  const proxies = startProxies(directory, { nginx: nginxPort, haproxy: haproxyPort }, port);
  const goPort = Number(await go.fact('listening'));
  for (const each of [nginxPort, haproxyPort]) await waitFor(`port ${each}`, () => accepts(each), 20_000);
  const clients = [
    new OwnClient(port),
    new OwnClient(nginxPort, 'nginx'),
    new OwnClient(haproxyPort, 'HAProxy'),
    new GoClient(goPort),
    new NodeClient(port),
  ];
  return {
    clients,
    async end() {
      for (const client of clients) client.leave();
      await Promise.all([go, ...proxies].map((child) => child.end()));
    },
  };
}

/** nginx and HAProxy, which pass on to `behind`. */
function startProxies(directory: string, ports: { nginx: number; haproxy: number }, behind: number): Child[] {
  assert.ok(nginx.path !== undefined, nginx.path === undefined ? nginx.reason : '');
  assert.ok(haproxy.path !== undefined, haproxy.path === undefined ? haproxy.reason : '');
  const files = { nginx: join(directory, 'nginx.conf'), haproxy: join(directory, 'haproxy.cfg') };
  mkdirSync(join(directory, 'temp'));
  writeFileSync(files.nginx, nginxConfiguration(directory, ports.nginx, behind));
  writeFileSync(files.haproxy, haproxyConfiguration(ports.haproxy, behind));
  return [
    new Child('nginx', nginx.path, ['-p', directory, '-c', files.nginx], directory),
    new Child('haproxy', haproxy.path, ['-db', '-f', files.haproxy], directory),
  ];
}

function nodeReader(): ReturnType<typeof createServer> {
  const server = createServer({ joinDuplicateHeaders: false, keepAliveTimeout: 0 }, (request, response) => {
    const body: Buffer[] = [];
    request.on('data', (chunk: Buffer) => body.push(chunk));
    request.on('end', () => {
      const { method = '', url: target = '', rawHeaders } = request;
      response.setHeader('X-Echo', encodeEcho({ method, target, rawHeaders }, Buffer.concat(body)));
      response.setHeader('Content-Length', 0); // as an answer to HEAD, too
      response.end();
    });
  });
  server.maxRequestsPerSocket = 0;
  return server;
}

/** Of what it may drop or refuse by default, it reads all that it can. */
const nginxConfiguration = (directory: string, port: number, goPort: number) => `
daemon off;
${process.getuid?.() === 0 ? 'user root; # its files lie in a directory that only we may enter' : ''}
master_process off;
pid ${directory}/nginx.pid;
error_log stderr crit;
events { worker_connections 1024; }
http {
  access_log off;
${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `  ${kind}_temp_path ${directory}/temp/${kind};`).join('\n')}
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  upstream echo { server 127.0.0.1:${goPort}; keepalive 8; }
  server {
    listen 127.0.0.1:${port};
    ignore_invalid_headers off;
    underscores_in_headers on;
    large_client_header_buffers 8 64k;
    proxy_buffer_size 64k;
    proxy_buffers 8 64k;
    proxy_busy_buffers_size 128k;
    proxy_http_version 1.1;
    proxy_next_upstream off;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Nginx-Uri $uri;
    location / { proxy_pass http://echo; }
  }
}
`;

const haproxyConfiguration = (port: number, goPort: number) => `
global
  tune.bufsize 65536
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 5s
frontend all
  bind 127.0.0.1:${port}
  default_backend echo
backend echo
  server echo 127.0.0.1:${goPort}
`;

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
