/** SLV-4nnn: the edge proxy. 40nn: requests and connections. 41nn: the tunnel. 42nn: the HTTP/1.1 codec. 43nn: the local agent. */
export const edgeProxyErrors = {
  'SLV-4001': {
    status: 403,
    title: 'Denied by intention',
    fix: 'If this call is meant to be, allow it: `selvedge intention create SOURCE DESTINATION --allow`. The decision id names the rule: see /decisions/ID at the admin address of the refusing proxy.',
  },
  'SLV-4002': {
    status: 503,
    title: 'No endpoint available',
    fix: 'No healthy instance of the upstream is known. Check that it is registered and passing: GET /v1/health/connect/NAME.',
  },
  'SLV-4003': {
    status: 503,
    title: 'Circuit breaker open',
    fix: 'Calls to this upstream failed lately, so it is left in peace and probed again by itself; or an operator forced it. `selvedge breaker list` on the host of the caller shows which.',
  },
  'SLV-4004': {
    status: 504,
    title: 'Upstream timed out',
    fix: 'The upstream did not answer within the timeout of its resilience policy. Look at the upstream, or raise the timeout: PUT /v1/mesh/resilience/NAME.',
  },
  'SLV-4005': {
    status: 502,
    title: 'Upstream failed',
    fix: 'The upstream broke the connection or answered with something that is not HTTP; the message says which. Its own log knows more.',
  },
  'SLV-4006': {
    status: 503,
    title: 'Too many calls in flight',
    fix: 'The bulkhead of this upstream is full. Call less at once, or raise maxConcurrent: PUT /v1/mesh/resilience/NAME.',
  },
  'SLV-4007': {
    status: 503,
    title: 'Application not reachable',
    fix: 'The edge proxy could not connect to its local application. Check that it runs and listens at the --local address.',
  },
  'SLV-4008': {
    status: 503,
    title: 'Edge proxy not ready',
    fix: 'The proxy has no certificate or no intentions yet, so it lets nothing through. Check that identity and catalog are reachable: /readyz at the admin address.',
  },
  'SLV-4011': {
    status: 400,
    title: 'Ambiguous request target',
    fix: 'The path can be read in more than one way, so it is not forwarded. The message says why; send it in its plain form, or see how a service takes encoded slashes: docs/requests.md.',
  },
  'SLV-4012': {
    status: 421,
    title: 'Not a service of the mesh',
    fix: 'Only services of the mesh are reached by this port: NAME, NAME.mesh or NAME.service.consul as the host. Call everything else directly, without this proxy: put it into no_proxy.',
  },
  'SLV-4013': {
    status: 503,
    title: 'Service not known yet',
    fix: 'The first call of a service asks the catalog for it, and so does the first start with a new --upstream. Check that the catalog is reachable (/status at the admin address) and call again; one that is named by --upstream is known from the start, as long as the catalog or the copy in --data-dir is there.',
  },
  'SLV-4014': {
    status: 400,
    title: 'Wrong protocol',
    fix: 'Set the Protocol that the application speaks in its service-defaults: grpc for gRPC, http2 for HTTP/2, http for HTTP/1.1 and upgrades. A WebSocket reaches an application of HTTP/2 that announces SETTINGS_ENABLE_CONNECT_PROTOCOL. Other requests are brought from one version of HTTP to the other; these can not be, and a service of protocol tcp is asked for nothing but bytes.',
  },
  'SLV-4015': {
    status: 429,
    title: 'Too many requests of one caller',
    fix: 'The service allows each caller so many requests a second; Retry-After says when the next may come. Ask less often, or raise requestLimit: PUT /v1/mesh/resilience/NAME.',
  },
  'SLV-4016': {
    status: 503,
    title: 'Edge proxy hands over',
    fix: 'A successor starts at this moment, from what is on disk. Ask again in a second or two: it answers at the same address.',
  },
  'SLV-4017': {
    status: 307,
    title: 'Encoded slashes in the path',
    fix: 'Ask at the path in Location, which has slashes in their place: so says PathWithEscapedSlashesAction of the service (docs/requests.md).',
  },
  'SLV-4018': {
    status: 429,
    title: 'Too many requests of one instance',
    fix: 'Each instance of the service takes so many requests a second of all callers together; Retry-After says when it takes the next. Run more instances, or raise RateLimits.InstanceLevel in its service-defaults.',
  },
  'SLV-4101': {
    status: 502,
    title: 'Tunnel broken by its peer',
    fix: 'The peer broke HTTP/2; the message says which rule. Check what listens at that address, and report it if it is Selvedge.',
  },
  'SLV-4102': {
    status: 504,
    title: 'Tunnel peer silent',
    fix: 'The peer stopped answering. Check that its host runs and that the network between passes packets both ways.',
  },
  'SLV-4103': {
    status: 502,
    title: 'Tunnel connection lost',
    fix: 'The connection ended without a farewell; the peer probably stopped. A new tunnel opens by itself.',
  },
  'SLV-4104': {
    status: 503,
    title: 'Tunnel takes no more streams',
    fix: 'The tunnel is full or draining. Nothing was sent: open another tunnel and try again.',
  },
  'SLV-4105': {
    status: 502,
    title: 'Tunnel closed by its peer',
    fix: 'The peer ended the tunnel with an error; the message gives its code and words. Its log has the cause.',
  },
  'SLV-4106': {
    status: 429,
    title: 'Tunnel flooded by its peer',
    fix: 'The peer sent more control frames, resets or headers than the bounds allow. Find out who it is in the log; a peer of ours never does this.',
  },
  'SLV-4200': {
    status: 400,
    title: 'Malformed request line',
    fix: 'Send `METHOD target HTTP/1.1` with single spaces and CRLF line ends.',
  },
  'SLV-4201': {
    status: 400,
    title: 'Malformed header',
    fix: 'Send `Name: value` lines with CRLF ends, without folding, control characters or underscores in names (docs/requests.md says how a service takes those); the detail says which rule was broken.',
  },
  'SLV-4202': {
    status: 400,
    title: 'Ambiguous message length',
    fix: 'Send exactly one Content-Length of digits only, or `Transfer-Encoding: chunked` alone, never both.',
  },
  'SLV-4203': {
    status: 400,
    title: 'Malformed chunked body',
    fix: 'Chunk sizes are 1 to 16 hexadecimal digits followed by CRLF; trailers are well-formed headers.',
  },
  'SLV-4204': {
    status: 400,
    title: 'Host missing or invalid',
    fix: 'Send exactly one Host header with a name or address and, if need be, a port; it must agree with an absolute target.',
  },
  'SLV-4205': {
    status: 505,
    title: 'HTTP version not supported',
    fix: 'Use HTTP/1.1 or HTTP/1.0 on this port.',
  },
  'SLV-4206': {
    status: 431,
    title: 'Request head too large',
    fix: 'Send fewer or shorter headers; the detail names the limit.',
  },
  'SLV-4207': { status: 414, title: 'Request target too long', fix: 'Send a shorter path and query.' },
  'SLV-4208': {
    status: 501,
    title: 'Method not offered',
    fix: 'CONNECT to a host and port is taken at --http-proxy-addr only and TRACE nowhere, and method names have at most 32 characters.',
  },
  'SLV-4209': {
    status: 400,
    title: 'Upgrade refused',
    fix: 'Ask for an upgrade once, and without a request body.',
  },
  'SLV-4210': { status: 417, title: 'Expectation not supported', fix: 'Only `Expect: 100-continue` is understood.' },
  'SLV-4211': {
    status: 400,
    title: 'Request ended early',
    fix: 'Send the whole request before closing the connection.',
  },
  'SLV-4212': {
    status: 501,
    title: 'Protocol not offered',
    fix: 'Extended CONNECT (RFC 8441) opens a WebSocket: send `:protocol` websocket. Other protocols do not pass.',
  },
  'SLV-4213': {
    status: 408,
    title: 'Request head too slow',
    fix: 'Send the head of a request in one go: from its first byte on it has ten seconds.',
  },
  'SLV-4220': {
    status: 502,
    title: 'Malformed answer from the application',
    fix: 'The application answered with something that is not strict HTTP/1.1; the detail says which rule it broke.',
  },
  'SLV-4221': {
    status: 502,
    title: 'Ambiguous or broken answer body',
    fix: 'The application must send one Content-Length, or `Transfer-Encoding: chunked` alone with valid chunks.',
  },
  'SLV-4222': {
    status: 502,
    title: 'Answer ended early',
    fix: 'The application closed the connection before its answer was complete; look at its log.',
  },
  'SLV-4301': {
    status: 502,
    title: 'Registration refused by the catalog',
    fix: "The message has the catalog's words. If the grant of this node does not hold the service, ask an operator for a join token that does.",
  },
} as const;
