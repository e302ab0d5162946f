// Token buckets: how much somebody may use, refilled with time.

/** `rate` tokens a second up to `burst`. */
export type BudgetRule = { readonly rate: number; readonly burst: number };

/** One bucket per name; names that are full again are forgotten. */
export class Budgets {
  readonly #rule: BudgetRule;
  readonly #buckets = new Map<string, { tokens: number; at: number }>();
  readonly #limit: number;

  constructor(rule: BudgetRule, limit = 100_000) {
    this.#rule = rule;
    this.#limit = limit;
  }

  /** Takes `cost` tokens at `now` (monotonic milliseconds); false, taking none, if there are not so many. */
  take(name: string, now: number, cost = 1): boolean {
    const { rate, burst } = this.#rule;
    const bucket = this.#buckets.get(name) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) * rate) / 1000);
    this.#buckets.delete(name);
    // A flood of new names must not fill memory: the longest unused bucket goes.
    if (this.#buckets.size >= this.#limit) this.#buckets.delete(this.#buckets.keys().next().value!);
    const enough = tokens >= cost;
    this.#buckets.set(name, { tokens: enough ? tokens - cost : tokens, at: now });
    return enough;
  }
}
