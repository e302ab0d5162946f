// The chain of leases of one activation, as the server follows it: a retry, a lost disk, or two machines that live on one identity.

import { DAY, type Instant } from "../core/instant.ts";

/** One renewal that advanced the chain: which start of which machine, and from where. */
export type Advance = { readonly boot: string; readonly at: Instant; readonly address: string };
export type Fork = { readonly at: Instant };

export type Chain = {
  readonly nonce: string;
  readonly previousNonce: string | null;
  readonly previousRequest: string | null;
  /** Oldest first, of the last 45 days. */
  readonly history: readonly Advance[];
  readonly forks: readonly Fork[];
};

export type Renewal = {
  readonly nonce: string;
  readonly requestId: string;
  readonly boot: string;
  readonly at: Instant;
  readonly address: string;
};

/** `again`: the answer got lost, the same one is sent. The others go on, with a verdict where two lives met. */
export type Step =
  | { readonly kind: "again" }
  | { readonly kind: "next"; readonly chain: Omit<Chain, "nonce" | "previousNonce" | "previousRequest"> }
  | {
      readonly kind: "fork";
      readonly verdict: "clone" | "suspect" | "restored";
      readonly addresses: readonly [string, string];
      readonly chain: Omit<Chain, "nonce" | "previousNonce" | "previousRequest">;
    };

const MEMORY = 45 * DAY;
const KEPT = 512;
/** Forks within the memory that make a restored device a suspect one. */
const SUSPECT = 3;

/**
 * A…B…A…B: a start of one machine is back although another had come back before it; two machines are alive at once. A disk or a whole
 * machine that was put back once shows a return that stays. Never denies anything: the presenter's chain goes on.
 */
export function follow(chain: Chain, renewal: Renewal): Step {
  const { nonce, requestId, boot, at, address } = renewal;
  const history = chain.history.filter((one) => at - one.at < MEMORY);
  const forks = chain.forks.filter((one) => at - one.at < MEMORY);
  const advanced = [...history, { boot, at, address }].slice(-KEPT);
  if (nonce === chain.nonce) return { kind: "next", chain: { history: advanced, forks } };
  if (nonce === chain.previousNonce && requestId === chain.previousRequest) return { kind: "again" };
  const allForks = [...forks, { at }].slice(-KEPT);
  const other = returned(history, boot);
  const verdict = other !== null ? "clone" : allForks.length >= SUSPECT ? "suspect" : "restored";
  const last = other ?? history.at(-1);
  return {
    kind: "fork",
    verdict,
    addresses: [last?.address ?? address, address],
    chain: { history: advanced, forks: allForks },
  };
}

/** The other start that lives by turns with this one: it advanced, this one did, it did again, and now this one is back. */
function returned(history: readonly Advance[], boot: string): Advance | null {
  for (const other of new Set(history.map((one) => one.boot))) {
    if (other === boot) continue;
    const first = history.findIndex((one) => one.boot === other);
    const own = history.findIndex((one, at) => at > first && one.boot === boot);
    const again = own < 0 ? undefined : history.slice(own + 1).findLast((one) => one.boot === other);
    if (again !== undefined) return again;
  }
  return null;
}
