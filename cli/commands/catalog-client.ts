import { ServiceClient } from '../service-client.ts';

/** The catalog, by the options that every command for it takes. */
export function catalogClient(options: {
  catalog: string;
  tokenFile: string | undefined;
  caFile: string | undefined;
}): ServiceClient {
  return new ServiceClient('catalog', { ...options, url: options.catalog });
}
