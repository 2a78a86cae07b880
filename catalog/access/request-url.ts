let last: { readonly request: Request; readonly url: URL } | undefined;

/**
 * The URL of a request, parsed once for the several who look at it in one turn: who calls, how it wants its answer, what it asks.
 *
 * @returns it, shared: not to be changed
 */
export function urlOf(request: Request): URL {
  if (last?.request !== request) last = { request, url: new URL(request.url) };
  return last.url;
}
