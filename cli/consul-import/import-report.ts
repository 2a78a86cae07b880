/** What became of one thing of the source. */
export type ItemFate =
  /** Written, or to be written. */
  | 'new'
  | 'changed'
  /** Here as it is there. */
  | 'same'
  /** Could not be taken over, in whole or in part: `reason`. */
  | 'left';

/** One thing of the source: `service-defaults web`. */
export interface ImportItem {
  readonly what: string;
  readonly fate: ItemFate;
  readonly reason?: string;
}

/** What an import did, or would do. */
export class ImportReport {
  readonly items: ImportItem[] = [];
  /** What is here all the same, and worth to know. */
  readonly notes: string[] = [];

  add(what: string, fate: Exclude<ItemFate, 'left'>): void {
    this.items.push({ what, fate });
  }

  left(what: string, reason: string): void {
    this.items.push({ what, fate: 'left', reason: reason.replace(/\.$/, '') });
  }

  note(text: string): void {
    this.notes.push(text);
  }

  count(fate: ItemFate): number {
    return this.items.filter((item) => item.fate === fate).length;
  }
}
