import { z } from 'zod';
import { ConsulError } from './consul-error.ts';

/** `Ports` of a service: several, each with a name, one of them the default (Consul 1.22; reference: api/agent.go). */
export const servicePortsSchema = z
  .array(
    z.object({
      Name: z.string().max(64).default(''),
      Port: z.int().min(0).max(65_535).default(0),
      Default: z.boolean().default(false),
    }),
  )
  .max(16);
export type ServicePorts = z.output<typeof servicePortsSchema>;

/** `Locality` of a service or node: kept and shown. */
export const localitySchema = z.object({
  Region: z.string().max(128).default(''),
  Zone: z.string().max(128).default(''),
});

/** @throws ConsulError 400 in Consul's words */
export function judgePorts(ports: ServicePorts): void {
  if (ports.length === 0) return;
  const refuse = (text: string): never => {
    throw new ConsulError(400, text);
  };
  const names = new Set<string>();
  for (const { Name, Port } of ports) {
    if (Name.trim() === '') refuse('Ports.Name cannot be empty');
    if (Port === 0) refuse('Ports.Port must be non-zero');
    if (names.has(Name)) refuse(`Ports.Name ${JSON.stringify(Name)} has to be unique`);
    names.add(Name);
  }
  const defaults = ports.filter(({ Default }) => Default).length;
  if (defaults > 1) refuse('only one port can be marked as default');
  if (defaults === 0) refuse('one of the Ports must be marked as Default');
}

/** @returns the port that whoever knows of one port calls */
export function defaultPort({
  Port,
  Ports,
}: {
  readonly Port: number;
  readonly Ports?: ServicePorts | undefined;
}): number {
  return Ports?.find(({ Default }) => Default)?.Port ?? Port;
}
