/** The same values, beginning elsewhere in each round, so that none always follows the same neighbour's heat. */
export function rotated<T>(values: readonly T[], by: number): T[] {
  const start = values.length === 0 ? 0 : (by + values.length) % values.length;
  return [...values.slice(start), ...values.slice(0, start)];
}
