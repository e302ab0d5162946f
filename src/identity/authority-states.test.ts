// The life of an authority: what each state means, each move from each state, and what may be found some bundles later.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  AUTHORITY_STATES,
  canBecome,
  moved,
  type AuthorityMove,
  type AuthorityState,
} from "./authority-states.ts";

const STATES = ["prepared", "active", "tainted", "revoked"] as const satisfies readonly AuthorityState[];

describe("an authority that is", () => {
  for (const [state, issues, believed, replaced] of [
    ["prepared", false, true, false],
    ["active", true, true, false],
    ["tainted", false, true, true],
    ["revoked", false, false, true],
  ] as const)
    it(`${state} ${issues ? "issues" : "issues nothing"}, is ${believed ? "" : "not "}trusted, and what it issued is ${replaced ? "replaced at once" : "kept"}`, () => {
      assert.deepEqual(AUTHORITY_STATES[state], { issues, believed, replaced });
    });
});

describe("a move", () => {
  const never = "trust that was taken away never comes back";
  const needed = "it is the active one, and there has to be one";
  const rows: readonly (readonly [AuthorityMove, AuthorityState, AuthorityState | string])[] = [
    ["activate", "prepared", "active"],
    ["activate", "active", "it is active already"],
    ["activate", "tainted", never],
    ["activate", "revoked", never],
    ["taint", "prepared", "tainted"],
    ["taint", "active", needed],
    ["taint", "tainted", "it is tainted already"],
    ["taint", "revoked", never],
    ["revoke", "prepared", "revoked"],
    ["revoke", "active", needed],
    ["revoke", "tainted", "revoked"],
    ["revoke", "revoked", "it is revoked already"],
  ];
  for (const [move, from, to] of rows)
    if ((STATES as readonly string[]).includes(to))
      it(`${move} makes ${to} of ${from}`, () => {
        assert.equal(moved(move, from), to);
      });
    else
      it(`${move} is refused for one that is ${from}: ${to}`, () => {
        assert.throws(
          () => moved(move, from),
          (error: Error & { code?: string; hint?: string }) => {
            assert.equal(error.code, "identity/bad-move");
            assert.ok(error.message.includes(to), error.message);
            // Only then another one has to be activated first.
            assert.equal(error.hint !== undefined, to === needed);
            return true;
          },
        );
      });
});

describe("some bundles later", () => {
  for (const [from, later] of [
    ["prepared", STATES],
    ["active", STATES],
    ["tainted", ["tainted", "revoked"]],
    ["revoked", ["revoked"]],
  ] as const)
    it(`an authority that was ${from} can be ${later.join(", ")}, and nothing else`, () => {
      assert.deepEqual(
        STATES.filter((to) => canBecome(from, to)),
        later,
      );
    });
});
