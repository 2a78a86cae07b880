import { Hono } from 'hono';
import type { ServedHttp } from '#runtime/http-server.ts';
import { serveHttp } from '#runtime/http-service.ts';
import type { ProcessContext } from '#runtime/process-context.ts';

type Item = Readonly<Record<string, unknown>>;
interface Registration {
  readonly Service?: Item & { readonly ID: string };
  readonly Checks: readonly (Item & { readonly CheckID: string; readonly ServiceID: string })[];
}

/** The four routes of a catalog that an agent uses, over real HTTP, with a memory that a test can read and lose. The real one is used in test/. */
export class SmallCatalog {
  readonly services = new Map<string, Item>();
  readonly checks = new Map<string, Item>();
  /** `register ID`, `deregister ID`, `compare`, as they came. */
  readonly calls: string[] = [];
  /** What to answer instead, by call; a status and a text. */
  trouble: ((call: string) => { status: number; text: string } | undefined) | undefined;
  readonly #served: ServedHttp;

  private constructor(served: ServedHttp) {
    this.#served = served;
  }

  static async start(context: ProcessContext): Promise<SmallCatalog> {
    const app = new Hono();
    const served = await serveHttp({ app, host: '127.0.0.1', port: 0, log: context.log, clock: context.clock });
    const catalog = new SmallCatalog(served);
    catalog.#mount(app);
    return catalog;
  }

  get url(): string {
    return this.#served.url;
  }

  close(): Promise<void> {
    return this.#served.close(0);
  }

  #mount(app: Hono): void {
    const noted = (call: string): Response | undefined => {
      this.calls.push(call);
      const trouble = this.trouble?.(call);
      return trouble && new Response(trouble.text, { status: trouble.status });
    };
    app.put('/v1/catalog/register', async (c) => {
      const { Service, Checks } = await c.req.json<Registration>();
      const refusal = noted(`register ${Service?.ID ?? 'node'}`);
      if (refusal !== undefined) return refusal;
      if (Service !== undefined) this.services.set(Service.ID, Service);
      for (const check of Checks) this.checks.set(check.CheckID, check);
      return c.json(true);
    });
    app.put('/v1/catalog/deregister', async (c) => {
      const { ServiceID, CheckID } = await c.req.json<{ ServiceID?: string; CheckID?: string }>();
      const refusal = noted(`deregister ${ServiceID ?? CheckID}`);
      if (refusal !== undefined) return refusal;
      this.services.delete(ServiceID ?? '');
      for (const [id, check] of this.checks)
        if (id === CheckID || check['ServiceID'] === ServiceID) this.checks.delete(id);
      return c.json(true);
    });
    app.get(
      '/v1/catalog/node-services/:node',
      (c) => noted('compare') ?? c.json({ Services: [...this.services.values()] }),
    );
    app.get('/v1/health/node/:node', (c) => c.json([...this.checks.values()]));
  }
}
