// The life of an authority as a table: what each state means, and which moves there are.

import { IdentityError } from "./errors.ts";

/**
 *              activate                 (another one is activated)
 *   prepared ───────────▶ active ───────────▶ prepared
 *      │                                         ▲ the same state: believed, issues nothing
 *      ├── taint ──▶ tainted ── revoke ──▶ revoked   (the end: it never comes back)
 *      └── revoke ───────────────────────────▲
 *
 * The names are those of SPIRE's authorities; an authority that was active and is no more stands by as `prepared`, so that a
 * rotation that went wrong is taken back by activating the old one again.
 */
export type AuthorityState = "prepared" | "active" | "tainted" | "revoked";

export type StateMeaning = {
  /** New certificates come from it. */
  readonly issues: boolean;
  /** What it issued is believed. */
  readonly believed: boolean;
  /** Who holds a certificate of it gets another at once instead of at half of its life. */
  readonly replaced: boolean;
};

export const AUTHORITY_STATES: { readonly [state in AuthorityState]: StateMeaning } = {
  prepared: { issues: false, believed: true, replaced: false },
  active: { issues: true, believed: true, replaced: false },
  tainted: { issues: false, believed: true, replaced: true },
  revoked: { issues: false, believed: false, replaced: true },
};

export type AuthorityMove = "activate" | "taint" | "revoke";

/** An active authority is moved by activating another: there is never none, and never two. */
const MOVES: {
  readonly [move in AuthorityMove]: { readonly [from in AuthorityState]: AuthorityState | null };
} = {
  activate: { prepared: "active", active: null, tainted: null, revoked: null },
  taint: { prepared: "tainted", active: null, tainted: null, revoked: null },
  revoke: { prepared: "revoked", active: null, tainted: "revoked", revoked: null },
};

/** What a move makes of a state. Errors: `identity/bad-move` with the reason. */
export function moved(move: AuthorityMove, from: AuthorityState): AuthorityState {
  const to = MOVES[move][from];
  if (to !== null) return to;
  const done = { activate: "active", taint: "tainted", revoke: "revoked" } as const;
  const why =
    from === done[move]
      ? `it is ${from} already`
      : from === "active"
        ? "it is the active one, and there has to be one"
        : `it is ${from}, and trust that was taken away never comes back`;
  throw new IdentityError(
    "identity/bad-move",
    `Nothing was changed by ${move}: ${why}.`,
    { move, state: from },
    from === "active" && move !== "activate"
      ? { hint: "Activate another one first: upkeep ca prepare, then upkeep ca activate." }
      : {},
  );
}

/** Which states can be found some bundles later. */
const LATER: { readonly [from in AuthorityState]: readonly AuthorityState[] } = {
  prepared: ["prepared", "active", "tainted", "revoked"],
  active: ["prepared", "active", "tainted", "revoked"],
  tainted: ["tainted", "revoked"],
  revoked: ["revoked"],
};

/** True when moves lead from one state to the other; who was away for years sees only the first and the last. */
export function canBecome(from: AuthorityState, to: AuthorityState): boolean {
  return LATER[from].includes(to);
}
