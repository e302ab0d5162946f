// The state table: where each state leads, and that nothing that runs is touched before activation.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ArtifactError } from "../artifact/errors.ts";
import { DiskError } from "../core/disk.ts";
import { DsseError } from "../core/dsse.ts";
import { ReportedError, UNREACHABLE } from "../core/errors.ts";
import { VersionError } from "../core/version.ts";
import { KeyError } from "../keys/errors.ts";
import { MirrorError } from "../mirror/errors.ts";
import { ProcessError } from "../process/errors.ts";
import { RepositoryError } from "../repository/errors.ts";
import { SlotError } from "../slot/errors.ts";
import {
  EFFECTS,
  isDevicesFault,
  outcomeOf,
  transition,
  type AttemptState,
  wasChangedHere,
  type Outcome,
} from "./attempt-table.ts";
import { AgentError } from "./errors.ts";

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
    assert.deepEqual(path, [
      "downloading",
      "verifying",
      "staging",
      "ready",
      "activating",
      "probation",
      "committed",
    ]);
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
    for (const state of [
      "downloading",
      "verifying",
      "staging",
      "ready",
      "refused",
      "failed",
      "superseded",
    ] as const)
      assert.deepEqual(
        EFFECTS[state].filter((effect) => touching.has(effect)),
        [],
        state,
      );
    assert.ok(EFFECTS.activating.indexOf("note-activating") < EFFECTS.activating.indexOf("stop"));
    assert.equal(EFFECTS["rolling-back"][0], "note-rolling-back");
    assert.equal(
      EFFECTS.ready.at(-1),
      "prepare-snapshot",
      "room for going back is looked for last, while the old runs",
    );
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
    assert.equal(transition("ready", "transient", ["repair"]), "waiting");
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
    for (const error of [
      new DiskError("disk/full", ""),
      new DiskError("disk/io", ""),
      new DiskError("disk/missing", ""),
      new ProcessError("process/cannot-start", ""),
      new ProcessError("process/no-port", ""),
      new ProcessError("process/port-taken", ""),
      new ProcessError("process/will-not-stop", ""),
      new SlotError("slot/damaged", ""),
      new SlotError("slot/link-unknown", ""),
      new SlotError("slot/data-not-kept", ""),
      new AgentError("agent/no-space", ""),
    ])
      assert.equal(isDevicesFault(error), true, error.code);
    for (const error of [
      new ProcessError("process/exited", ""),
      new ProcessError("process/unhealthy", ""),
      new ProcessError("process/never-settled", ""),
      new ProcessError("process/unknown-too-long", ""),
      new ProcessError("process/crash-loop", ""),
      new ProcessError("process/wrong-program", ""),
      new SlotError("slot/bad-archive", ""),
    ])
      assert.equal(isDevicesFault(error), false, error.code);
    assert.equal(isDevicesFault(new TypeError("a defect")), false);
    assert.deepEqual(["slot/damaged", "slot/link-unknown", "process/crash-loop"].map(wasChangedHere), [
      true,
      true,
      false,
    ]);
  });

  it("notes every end before it reports it", () => {
    for (const state of ["committed", "rolled-back", "refused", "failed", "superseded"] as const)
      assert.deepEqual(EFFECTS[state], ["note-end", "remember", "report", "collect"]);
  });
});

describe("an error", () => {
  for (const [error, outcome] of [
    [new MirrorError("mirror/unreachable", ""), "transient"],
    [new MirrorError("mirror/wrong-content", ""), "refused"],
    [new MirrorError("mirror/too-long", ""), "refused"],
    [new DiskError("disk/full", ""), "transient"],
    [new DiskError("disk/missing", ""), "failed"],
    [new AgentError("agent/no-space", ""), "transient"],
    [new AgentError("agent/repair-waits", ""), "transient"],
    [new AgentError("agent/wrong-bytes", ""), "refused"],
    [new AgentError("agent/no-verifier", ""), "refused"],
    [new RepositoryError("repository/expired", ""), "transient"],
    [new RepositoryError("repository/locked", ""), "transient"],
    [new RepositoryError("repository/unsigned", ""), "refused"],
    [new RepositoryError("repository/role-missing", ""), "refused"],
    [new SlotError("slot/unsafe-entry", ""), "refused"],
    [new SlotError("slot/data-not-kept", ""), "transient"],
    [new SlotError("slot/damaged", ""), "failed"],
    [new ArtifactError("artifact/wrong-publisher", ""), "refused"],
    [new ArtifactError("artifact/unreadable", ""), "failed"],
    [new DsseError("dsse/no-valid-signature", ""), "refused"],
    [new KeyError("key/weak", ""), "refused"],
    [new VersionError("version/malformed", ""), "refused"],
    [new ReportedError(UNREACHABLE, "server/unreachable", ""), "transient"],
    [new ReportedError(undefined, "server/of-a-later-version", ""), "failed"],
    [new ProcessError("process/exited", ""), "failed"],
    [new ProcessError("process/wrong-program", ""), "refused"],
    [new ProcessError("process/cannot-start", ""), "transient"],
  ] as const) {
    it(`${error.code} is ${outcome}`, () => {
      assert.equal(outcomeOf(error), outcome);
    });
  }

  it("that is none of ours is a failure, and says nothing of the release", () => {
    assert.equal(outcomeOf(new TypeError("a defect")), "failed");
  });
});
