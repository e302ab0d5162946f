// The recovery table: each row as a sentence.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { damageOf, lastAttempt, type Attempt } from "./attempt.ts";
import type { End, JournalEvent } from "./journal-event.ts";
import { recover, rightfulSlot, type LinkPlace, type Recovery } from "./recover.ts";

const attempt = "1".repeat(32);
const from = { version: "1.0.0", sha256: "a".repeat(64) };
const to = { version: "1.1.0", sha256: "b".repeat(64) };
const at = "2026-11-21T04:00:00Z";

const BEGIN: JournalEvent = {
  event: "begin",
  attempt,
  at,
  from,
  to,
  length: 1,
  manifestSha256: "c".repeat(64),
  floor: null,
  manual: false,
};
const ACTIVATING: JournalEvent = { event: "activating", attempt };
const BACK: JournalEvent = { event: "rolling-back", attempt, code: "process/exited", reason: "x" };
const starting = (number: number): JournalEvent => ({ event: "starting", attempt, number, boot: "b" });
const ended = (end: End): JournalEvent => ({
  event: "end",
  attempt,
  end,
  step: "committed",
  code: null,
  reason: null,
  at,
  duration: 1,
  running: null,
});
const of = (...events: JournalEvent[]): Attempt => lastAttempt([BEGIN, ...events])!;

const ROWS: readonly (readonly [string, Attempt | null, LinkPlace, Partial<Recovery>])[] = [
  ["runs what is committed when nothing was ever begun", null, "from", { do: "run", relink: false }],
  ["sets a pointer that was lost", null, "other", { do: "run", relink: true }],
  ["waits with an attempt that touched nothing", of(), "from", { do: "await", relink: false }],
  [
    "sets back a pointer that an unactivated attempt cannot have moved",
    of(),
    "to",
    { do: "await", relink: true },
  ],
  ["switches again when the switch was decided and not done", of(ACTIVATING), "from", { do: "activate" }],
  [
    "starts the new version again when it was switched to",
    of(ACTIVATING, starting(1)),
    "to",
    { do: "start" },
  ],
  [
    "goes back after too many starts",
    of(ACTIVATING, starting(5)),
    "to",
    { do: "roll-back", code: "process/crash-loop" },
  ],
  [
    "does not count starts before an orderly stop",
    of(ACTIVATING, starting(5), { event: "paused", attempt }),
    "to",
    { do: "start" },
  ],
  [
    "goes back when the pointer is nowhere it can be",
    of(ACTIVATING),
    "other",
    { do: "roll-back", code: "slot/link-unknown" },
  ],
  [
    "finishes going back, whichever version is current",
    of(ACTIVATING, BACK),
    "to",
    { do: "finish-roll-back" },
  ],
  ["finishes going back once switched", of(ACTIVATING, BACK), "from", { do: "finish-roll-back" }],
  [
    "runs the new version once it is committed",
    of(ACTIVATING, ended("committed")),
    "to",
    { do: "run", relink: false },
  ],
  [
    "never goes back after the commit",
    of(ACTIVATING, ended("committed")),
    "from",
    { do: "run", relink: true },
  ],
  [
    "runs the old version after going back",
    of(ACTIVATING, BACK, ended("rolled-back")),
    "from",
    { do: "run", relink: false },
  ],
];

/** The same version in another place. */
const copy = { ...from, copy: 1 };
const REPAIR: JournalEvent = { ...BEGIN, to: copy, damage: "repair" };
const repairing = (...events: JournalEvent[]): Attempt => lastAttempt([REPAIR, ...events])!;

/** A repair, whose `from` and `to` are the same release in two places. */
const REPAIRS: readonly (readonly [string, Attempt, LinkPlace, Partial<Recovery>])[] = [
  ["waits with a repair that touched nothing", repairing(), "from", { do: "await", relink: false }],
  ["switches again to the replacement", repairing(ACTIVATING), "from", { do: "activate" }],
  ["starts the replacement again", repairing(ACTIVATING, starting(1)), "to", { do: "start" }],
  [
    "gives up a replacement that never gets through, and does not go back to the damaged slot",
    repairing(ACTIVATING, starting(5)),
    "to",
    { do: "give-up", code: "process/crash-loop" },
  ],
  [
    "runs the replacement once it is committed",
    repairing(ACTIVATING, ended("committed")),
    "from",
    { do: "run", relink: true },
  ],
  [
    "keeps the replacement whose program was not well",
    repairing(ACTIVATING, starting(1), ended("failed")),
    "to",
    { do: "run", relink: false },
  ],
  [
    "sets the pointer back after a repair that failed before its switch",
    repairing(ended("failed")),
    "to",
    { do: "run", relink: true },
  ],
  [
    "goes back when the pointer is nowhere it can be during a repair",
    repairing(ACTIVATING),
    "other",
    { do: "roll-back", code: "slot/link-unknown" },
  ],
  ["finishes going back from a repair", repairing(ACTIVATING, BACK), "to", { do: "finish-roll-back" }],
  [
    "points to the old slot after a repair that was taken back",
    repairing(ACTIVATING, BACK, ended("rolled-back")),
    "from",
    { do: "run", relink: false },
  ],
];

describe("damage", () => {
  const found = (slot: typeof from, found: "damaged" | "whole"): JournalEvent => ({
    event: "slot-check",
    slot,
    found,
    what: found === "damaged" ? "bin/shop has other bytes" : null,
    at,
  });

  it("is known from the journal until the slot was found whole, or was made anew", () => {
    assert.equal(damageOf([], from), null);
    assert.equal(damageOf([found(from, "damaged"), BEGIN], from)?.what, "bin/shop has other bytes");
    assert.equal(damageOf([found(from, "damaged"), found(from, "whole")], from), null);
    assert.equal(damageOf([found(from, "damaged")], copy), null, "another place");
    const again: JournalEvent = { ...BEGIN, to: from };
    assert.notEqual(damageOf([found(from, "damaged"), again], from), null, "not there yet");
    assert.equal(damageOf([found(from, "damaged"), again, { event: "staged", attempt }], from), null);
  });

  it("found during an attempt is no part of it", () => {
    const seen = lastAttempt([BEGIN, ACTIVATING, found(from, "damaged"), starting(1)])!;
    assert.deepEqual(seen, of(ACTIVATING, starting(1)));
  });
});

describe("recovery", () => {
  for (const [sentence, attempt, link, expected] of [...ROWS, ...REPAIRS]) {
    it(sentence, () => {
      const found = recover({ attempt, link, toSlot: true, maxStarts: 5 });
      assert.deepEqual({ ...found, reason: undefined }, { ...expected, reason: undefined });
    });
  }

  it("goes back when the new slot is not whole any more", () => {
    for (const link of ["from", "to"] as const) {
      const found = recover({ attempt: of(ACTIVATING), link, toSlot: false, maxStarts: 5 });
      assert.deepEqual(found.do === "roll-back" && found.code, "slot/damaged");
    }
  });

  it("knows which slot is the rightful one", () => {
    assert.deepEqual(rightfulSlot(null, from), from);
    assert.deepEqual(rightfulSlot(of(), null), from);
    assert.deepEqual(rightfulSlot(of(ended("committed")), from), to);
    assert.deepEqual(rightfulSlot(of(ended("rolled-back")), to), from);
    assert.deepEqual(rightfulSlot(repairing(ACTIVATING), from), from);
    assert.deepEqual(rightfulSlot(repairing(ACTIVATING, ended("committed")), from), copy);
    assert.deepEqual(rightfulSlot(repairing(ACTIVATING, ended("failed")), from), copy);
    assert.deepEqual(rightfulSlot(repairing(ended("failed")), from), from);
    assert.deepEqual(rightfulSlot(repairing(ACTIVATING, BACK, ended("rolled-back")), from), from);
  });
});
