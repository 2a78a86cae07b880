/** SLV-1nnn: configuration, command line, start of a process. */
export const configurationErrors = {
  'SLV-1001': {
    status: 400,
    title: 'Unknown configuration key or flag',
    fix: 'Correct the spelling; the message names the nearest known one where there is one near. `selvedge <command> --help` lists all.',
  },
  'SLV-1002': {
    status: 400,
    title: 'Invalid configuration value',
    fix: 'Give a value of the form that the message asks for, at the place that it names.',
  },
  'SLV-1003': {
    status: 400,
    title: 'Missing configuration',
    fix: 'Give what the message names: an option by flag, SELVEDGE_* variable or in the --config file, an argument on the command line.',
  },
  'SLV-1004': {
    status: 500,
    title: 'Address not available',
    fix: 'Another process listens there, or the address is not of this host. Choose another, or port 0 for any free one.',
  },
  'SLV-1005': {
    status: 500,
    title: 'File not usable',
    fix: 'Check that the file exists and is readable (and writable, where it holds state) by this user.',
  },
  'SLV-1006': {
    status: 503,
    title: 'Service not reachable',
    fix: 'Check that the process is running and that the address is right; the message names it.',
  },
  'SLV-1007': {
    status: 500,
    title: 'Internal error',
    fix: 'This is a fault of Selvedge. The log of the process has the cause under the same id; please report it.',
  },
  'SLV-1008': {
    status: 413,
    title: 'Request body too large',
    fix: 'Send a smaller body; the message names the limit.',
  },
  'SLV-1009': {
    status: 400,
    title: 'Malformed request',
    fix: 'Correct the field that the message names.',
  },
  'SLV-1010': {
    status: 404,
    title: 'Not found',
    fix: 'Check the name or the path that the message names. What is served stands in docs/consul-compatibility.md and docs/operations.md, and in /openapi.json of catalog and identity.',
  },
  'SLV-1011': {
    status: 500,
    title: 'Successor did not start',
    fix: 'The process that was to take over did not serve, so the old one goes on. The log of the new one, in the same place, says why; mend that and send SIGUSR2 again.',
  },
  'SLV-1012': {
    status: 431,
    title: 'Request head too large',
    fix: 'Send shorter header fields, fewer of them or a shorter path: all together have 16 KiB.',
  },
  'SLV-1013': {
    status: 408,
    title: 'Request not received in time',
    fix: 'Send the head within 10 s and the whole request within 60 s; where the network is slow, in a smaller body.',
  },
} as const;
