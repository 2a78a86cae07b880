/** How long answers about services may be kept: `name` exact, with a `*` at its end the beginning of a name, `*` alone all (Consul: dns_config.service_ttl). */
export interface ServiceTtl {
  readonly pattern: string;
  readonly seconds: number;
}

/** @returns the rule made of several: an exact name first, then the longest beginning; 0 where none fits. Names compare without case. */
export function serviceTtls(given: readonly ServiceTtl[]): (service: string) => number {
  const exact = new Map<string, number>();
  const beginnings: { readonly start: string; readonly seconds: number }[] = [];
  for (const { pattern, seconds } of given) {
    const name = pattern.toLowerCase();
    if (name.endsWith('*')) beginnings.push({ start: name.slice(0, -1), seconds });
    else exact.set(name, seconds);
  }
  beginnings.sort((a, b) => b.start.length - a.start.length);
  return (service) => {
    const name = service.toLowerCase();
    return exact.get(name) ?? beginnings.find(({ start }) => name.startsWith(start))?.seconds ?? 0;
  };
}
