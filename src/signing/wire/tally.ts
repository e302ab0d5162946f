// Counts of what is there now, by name, each with a bound.

/** How many are there, by name; a name without any is forgotten. */
export class Tally {
  readonly #counts = new Map<string, number>();

  /** Counts one more under every name, or under none if one of them is full. */
  enter(names: readonly (readonly [name: string, most: number])[]): boolean {
    if (names.some(([name, most]) => (this.#counts.get(name) ?? 0) >= most)) return false;
    for (const [name] of names) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    return true;
  }

  leave(names: readonly string[]): void {
    for (const name of names) {
      const left = (this.#counts.get(name) ?? 1) - 1;
      if (left > 0) this.#counts.set(name, left);
      else this.#counts.delete(name);
    }
  }
}
