/**
 * What is used of node:http. An import of it as a module reads all that it exports, and with WebSocket, CloseEvent and MessageEvent Node loads undici and compiles its
 * WebAssembly: 8 MB in every process, for nothing. This way to it reads what is named here.
 */
export const { Agent, createServer, request, STATUS_CODES } = process.getBuiltinModule('node:http');
