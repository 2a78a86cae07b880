/** A refusal on one of Consul's routes: a status and a line of plain text, which is what Consul's clients show and match on. */
export class ConsulError extends Error {
  readonly status: number;

  constructor(status: number, text: string) {
    super(text);
    this.name = 'ConsulError';
    this.status = status;
  }
}
