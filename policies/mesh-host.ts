import { isServiceName } from './service-name.ts';

/** What stands behind the name of a service in a host name: docs/dns.md. */
const meshDomain = '.mesh';
const consulDomain = '.consul';

/**
 * The service that a host means, by the names that DNS answers: `db`, `db.mesh`, `db.service.consul`, `db.connect.consul`, `db.virtual.consul`, the latter three
 * also with `.<dc>` or `.<dc>.dc` before `.consul`. Case does not matter and a port says nothing, so a service whose name has capitals can't be meant.
 *
 * @param host as in Host: `name` or `name:port`
 * @param datacenter the own: another one is no answer here
 * @returns the name in lower case; undefined: not of the mesh. Neither an address nor localhost ever is, nor a name with a tag
 */
export function serviceOfHost(host: string, datacenter: string): string | undefined {
  const name = host
    .replace(/:\d{1,5}$/, '')
    .replace(/\.$/, '')
    .toLowerCase();
  if (/^[\d.]+$/.test(name)) return undefined;
  if (name.endsWith(meshDomain)) return serviceName(name.slice(0, -meshDomain.length));
  if (name.endsWith(consulDomain))
    return serviceInConsul(name.slice(0, -consulDomain.length), datacenter.toLowerCase());
  return name === 'localhost' || name.includes('.') ? undefined : serviceName(name);
}

function serviceInConsul(name: string, datacenter: string): string | undefined {
  const explicit = name.endsWith('.dc') ? name.slice(0, -'.dc'.length) : undefined;
  if (explicit !== undefined && !explicit.endsWith(`.${datacenter}`)) return undefined;
  const place = explicit ?? name;
  const local = place.endsWith(`.${datacenter}`) ? place.slice(0, -datacenter.length - 1) : place;
  const dot = local.lastIndexOf('.');
  const service = local.slice(0, Math.max(0, dot));
  const kind = local.slice(dot + 1);
  if (kind === 'virtual') return serviceName(service);
  // Before the others may stand a tag, which the mesh does not choose by.
  return (kind === 'service' || kind === 'connect') && !service.includes('.') ? serviceName(service) : undefined;
}

function serviceName(text: string): string | undefined {
  return isServiceName(text) ? text : undefined;
}
