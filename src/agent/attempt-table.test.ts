// The state table: where each state leads, and that nothing that runs is touched before activation.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  EFFECTS,
  isDevicesFault,
  outcomeOf,
  transition,
  type AttemptState,
  type Outcome,
} from "./attempt-table.ts";

type Open = Exclude<AttemptState, "waiting" | "done">;
const OPEN = Object.keys(EFFECTS).filter((state) => state !== "waiting" && state !== "done") as Open[];
const OUTCOMES: readonly Outcome[] = ["ok", "refused", "transient", "failed"];

describe("the state table of an attempt", () => {
  it("leads from downloading to committed when everything works", () => {
    const path: string[] = [];
    for (
      let state: AttemptState | "stuck" = "downloading";
      state !== "done" && state !== "stuck" && state !== "waiting";
    ) {
      path.push(state);
      state = transition(state, "ok");
    }
    assert.deepEqual(path, ["downloading", "verifying", "staging", "activating", "probation", "committed"]);
  });

  it("ends, waits or sticks whatever happens", () => {
    for (const start of OPEN) {
      for (const outcome of OUTCOMES) {
        let state: AttemptState | "stuck" = transition(start, outcome);
        for (let steps = 0; state !== "done" && state !== "waiting" && state !== "stuck"; steps++) {
          assert.ok(steps < 10, `${start} ${outcome} goes round`);
          state = transition(state, "ok");
        }
      }
    }
  });

  it("touches nothing that runs before activation, and writes its intent before it does", () => {
    const touching = new Set([
      "stop",
      "switch-forward",
      "switch-back",
      "snapshot",
      "restore",
      "start-and-watch-new",
    ]);
    for (const state of ["downloading", "verifying", "staging", "refused", "failed", "superseded"] as const)
      assert.deepEqual(
        EFFECTS[state].filter((effect) => touching.has(effect)),
        [],
        state,
      );
    assert.ok(EFFECTS.activating.indexOf("note-activating") < EFFECTS.activating.indexOf("stop"));
    assert.equal(EFFECTS["rolling-back"][0], "note-rolling-back");
  });

  it("goes back from activation and probation on any trouble, and never after the commit", () => {
    for (const outcome of ["refused", "transient", "failed"] as const) {
      assert.equal(transition("activating", outcome), "rolling-back");
      assert.equal(transition("probation", outcome), "rolling-back");
      assert.equal(transition("committed", outcome), "stuck");
    }
  });

  it("goes back from a repair before its switch, and keeps its slot after it", () => {
    for (const outcome of ["refused", "transient", "failed"] as const) {
      assert.equal(transition("activating", outcome, ["repair"]), "rolling-back");
      assert.equal(transition("probation", outcome, ["repair"]), "failed");
    }
    assert.equal(transition("probation", "ok", ["repair"]), "committed");
    assert.equal(transition("staging", "transient", ["repair"]), "waiting");
  });

  it("waits after the way back when only the machine was in the way, and gives up what an operator asked for", () => {
    assert.equal(transition("rolling-back", "ok"), "rolled-back");
    assert.equal(transition("rolling-back", "ok", ["postponed"]), "postponed");
    assert.equal(transition("rolling-back", "ok", ["repair", "postponed"]), "postponed");
    assert.equal(transition("rolling-back", "ok", ["given-up"]), "failed");
    assert.equal(transition("postponed", "ok"), "waiting");
    for (const turn of ["postponed", "given-up"] as const)
      assert.equal(transition("rolling-back", "transient", [turn]), "stuck");
  });

  it("holds nothing against a release that its own programs did not do", () => {
    for (const code of [
      "disk/full",
      "disk/io",
      "disk/missing",
      "process/cannot-start",
      "process/no-port",
      "process/port-taken",
      "process/will-not-stop",
      "slot/damaged",
      "slot/link-unknown",
      "agent/no-space",
    ])
      assert.equal(isDevicesFault(code), true, code);
    for (const code of [
      "process/exited",
      "process/unhealthy",
      "process/never-settled",
      "process/unknown-too-long",
      "process/crash-loop",
      "process/wrong-program",
      "agent/unforeseen",
    ])
      assert.equal(isDevicesFault(code), false, code);
  });

  it("notes every end before it reports it", () => {
    for (const state of ["committed", "rolled-back", "refused", "failed", "superseded"] as const)
      assert.deepEqual(EFFECTS[state], ["note-end", "remember", "report", "collect"]);
  });
});

describe("a code", () => {
  for (const [code, outcome] of [
    ["mirror/unreachable", "transient"],
    ["mirror/wrong-content", "refused"],
    ["mirror/too-long", "refused"],
    ["disk/full", "transient"],
    ["agent/no-space", "transient"],
    ["agent/repair-waits", "transient"],
    ["agent/wrong-bytes", "refused"],
    ["agent/no-verifier", "refused"],
    ["repository/expired", "transient"],
    ["repository/unsigned", "refused"],
    ["repository/role-missing", "refused"],
    ["slot/unsafe-entry", "refused"],
    ["artifact/wrong-publisher", "refused"],
    ["dsse/no-valid-signature", "refused"],
    ["server/unreachable", "transient"],
    ["process/exited", "failed"],
    ["process/wrong-program", "refused"],
    ["process/cannot-start", "transient"],
    ["agent/unforeseen", "failed"],
  ] as const) {
    it(`${code} is ${outcome}`, () => {
      assert.equal(outcomeOf(code), outcome);
    });
  }
});
