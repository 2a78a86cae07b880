import { hundredths, splitWithin } from '../config-entries/service-splitter.ts';
import { ChainFlaw } from './chain-flaw.ts';
import type { ChainNode } from './compiled-chain.ts';

/** Splits of one splitter after those that it leads to have become its own: they multiply. */
const maxSplits = 4_096;

type Nodes = ReadonlyMap<string, ChainNode>;

/** Throws ChainFlaw where nodes lead back to themselves. */
export function refuseCycles(nodes: Nodes, start: string): void {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (key: string): void => {
    if (path.includes(key)) throw new ChainFlaw(`detected circular reference: [${[...path, key].join(' -> ')}]`);
    if (done.has(key)) return;
    path.push(key);
    for (const next of nextOf(nodes.get(key))) visit(next);
    path.pop();
    done.add(key);
  };
  visit(start);
}

/** Makes splitters that lead to splitters one: a proxy chooses once. There are no circles. @throws ChainFlaw */
export function flattenSplitters(nodes: Nodes): void {
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of nodes.values()) {
      if (node.Type !== 'splitter') continue;
      const splits = node.Splits.flatMap((split) => {
        const inner = nodes.get(split.NextNode);
        if (inner?.Type !== 'splitter') return [split];
        changed = true;
        return inner.Splits.map(({ Definition, Weight = 0, NextNode }) => {
          const share = hundredths(((split.Weight ?? 0) * Weight) / 100);
          return {
            Definition: splitWithin(split.Definition, Definition),
            ...(share === 0 ? {} : { Weight: share }),
            NextNode,
          };
        });
      });
      if (splits.length > maxSplits) {
        throw new ChainFlaw(`splitter ${JSON.stringify(node.Name)} comes to more than ${maxSplits} splits`);
      }
      node.Splits = splits;
    }
  }
}

/** The nodes that the start leads to. */
export function withoutUnused(nodes: Nodes, start: string): Map<string, ChainNode> {
  const used = new Map<string, ChainNode>();
  const todo = [start];
  for (let key = todo.pop(); key !== undefined; key = todo.pop()) {
    const node = nodes.get(key);
    if (node === undefined || used.has(key)) continue;
    used.set(key, node);
    todo.push(...nextOf(node));
  }
  return used;
}

function nextOf(node: ChainNode | undefined): readonly string[] {
  switch (node?.Type) {
    case 'router':
      return node.Routes.map(({ NextNode }) => NextNode);
    case 'splitter':
      return node.Splits.map(({ NextNode }) => NextNode);
    case 'resolver':
    case undefined:
      return [];
  }
}
