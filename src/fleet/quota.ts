// Quotas: a token bucket for each identity, so that one client cannot take what belongs to the others.

/** `burst` at once, then one per `refillMs`. */
export type Quota = { readonly burst: number; readonly refillMs: number };

type Bucket = { level: number; at: number };

/** Buckets by key, at most `limit` of them: the one unused for longest goes first, and by then it is full again in all but a flood. */
export class Quotas {
  readonly #quota: Quota;
  readonly #limit: number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(quota: Quota, limit = 100_000) {
    this.#quota = quota;
    this.#limit = limit;
  }

  /** Takes one. Returns 0 when granted, else the milliseconds until the next one is. `now` is monotonic. */
  take(key: string, now: number): number {
    const { burst, refillMs } = this.#quota;
    const bucket = this.#buckets.get(key) ?? { level: burst, at: now };
    bucket.level = Math.min(burst, bucket.level + (now - bucket.at) / refillMs);
    bucket.at = now;
    // Re-inserted, so that the map's order is the order of use.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#limit) this.#buckets.delete(this.#buckets.keys().next().value!);
    if (bucket.level < 1) return Math.ceil((1 - bucket.level) * refillMs);
    bucket.level -= 1;
    return 0;
  }

  /** Gives one back: for quotas of failures, taken before the outcome is known. */
  give(key: string): void {
    const bucket = this.#buckets.get(key);
    if (bucket !== undefined) bucket.level = Math.min(this.#quota.burst, bucket.level + 1);
  }

  get size(): number {
    return this.#buckets.size;
  }
}
