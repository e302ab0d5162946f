// What a component remembers: one damaged copy loses nothing, the floor only rises, ends are applied once.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import type { BeginEvent, EndEvent } from "./journal-event.ts";
import { layoutOf } from "./layout.ts";
import {
  applyEnd,
  belowFloor,
  EMPTY_STATE,
  loadState,
  recalledHere,
  recordOf,
  saveState,
  skipOf,
  withoutFloorsOf,
  type ComponentState,
} from "./state.ts";

const layout = layoutOf("/c");
const slot = (version: string, letter = "a") => ({ version, sha256: letter.repeat(64) });
const attempt = "1".repeat(32);
const begin = (changes: Partial<BeginEvent> = {}): BeginEvent => ({
  event: "begin",
  attempt,
  at: "2026-11-21T04:00:00Z",
  from: slot("1.0.0"),
  to: slot("1.1.0", "b"),
  length: 1,
  manifestSha256: "c".repeat(64),
  floor: null,
  manual: false,
  ...changes,
});
const end = (changes: Partial<EndEvent> = {}): EndEvent => ({
  event: "end",
  attempt,
  end: "committed",
  step: "committed",
  code: null,
  reason: null,
  at: "2026-11-21T04:00:00Z",
  duration: 1,
  running: null,
  ...changes,
});
const STATE: ComponentState = { ...EMPTY_STATE, committed: slot("1.0.0"), floor: "0.9.0" };

async function saved(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/c");
  await disk.syncDirectory("/");
  await saveState(disk, layout, STATE);
  return disk;
}

describe("the state of a component", () => {
  it("after a repair names the replacement, keeps the floor, and forgets the damaged slot", () => {
    const to = { ...slot("1.0.0"), copy: 1 };
    const one = { from: slot("1.0.0"), to, damage: "repair" } as const;
    const facts = { replaced: true, record: "d".repeat(64) };
    const before = { ...STATE, good: [slot("0.9.0", "e")] };
    const after = applyEnd(before, begin(one), end(), facts);
    assert.deepEqual(
      [after.committed, after.good, after.floor, after.skip],
      [to, [slot("0.9.0", "e")], "0.9.0", []],
    );
    assert.equal(recordOf(after, to), facts.record);
    assert.equal(recordOf(after, slot("1.0.0")), null);
    const kept = applyEnd(before, begin(one), end({ end: "failed" }), facts);
    assert.deepEqual(kept.committed, to, "a replacement that is not well stays");
    const back = applyEnd(before, begin(one), end({ end: "rolled-back", code: "disk/io" }));
    assert.deepEqual([back.committed, back.skip], [STATE.committed, []], "and is tried again");
  });

  it("after a way out of damage keeps the floor, skips nothing, and does not keep what was damaged", () => {
    const two = { ...STATE, committed: slot("1.1.0", "b"), good: [slot("1.0.0")] };
    const after = applyEnd(
      two,
      begin({ from: slot("1.1.0", "b"), to: slot("1.0.0"), damage: "fall-back" }),
      end(),
    );
    assert.deepEqual(
      [after.committed, after.good, after.floor, after.skip],
      [slot("1.0.0"), [], "0.9.0", []],
    );
  });

  it("remembers the records of the slots that it names, and of no others", () => {
    const record = (letter: string) => ({ replaced: true, record: letter.repeat(64) });
    let state = STATE;
    for (const [i, letter] of [..."abcdef"].entries()) {
      const to = slot(`1.${i + 1}.0`, letter);
      state = applyEnd({ ...state, applied: null }, begin({ to }), end(), record(letter));
    }
    assert.deepEqual(
      state.records?.map(({ slot, sha256 }) => [slot.version, sha256[0]]),
      [
        ["1.4.0", "d"],
        ["1.5.0", "e"],
        ["1.6.0", "f"],
      ],
    );
  });

  it("survives the loss or damage of either copy", async () => {
    for (const path of [layout.state, layout.stateCopy]) {
      for (const harm of ["lost", "damaged"]) {
        const disk = await saved();
        if (harm === "lost") await disk.removeFile(path);
        else disk.tamper(path, (bytes) => bytes.map((byte, i) => (i === 100 ? byte ^ 1 : byte)));
        assert.equal((await loadState(disk, layout)).floor, "0.9.0");
      }
    }
  });

  it("is refused when both copies are damaged, since the floor is lost", async () => {
    const disk = await saved();
    for (const path of [layout.state, layout.stateCopy]) disk.tamper(path, (bytes) => bytes.subarray(1));
    await assert.rejects(loadState(disk, layout), { code: "slot/state-corrupt" });
  });

  it("is the old or the new one after a power cut, and never has a lower floor", async () => {
    await crashMatrix(
      await saved(),
      async (disk) => void (await saveState(disk, layout, { ...STATE, sequence: 1, floor: "1.0.0" })),
      async ({ disk }) => {
        const { floor } = await loadState(disk, layout);
        assert.ok(floor === "0.9.0" || floor === "1.0.0", String(floor));
      },
    );
  });

  it("takes an end once, however often it is applied", () => {
    const once = applyEnd(STATE, begin(), end());
    assert.deepEqual(applyEnd(once, begin(), end()), once);
    assert.deepEqual(once.committed, slot("1.1.0", "b"));
    assert.deepEqual(once.good, [slot("1.0.0")]);
  });

  it("raises its floor at a commit and never lowers it", () => {
    const raised = applyEnd(STATE, begin({ floor: "1.1.0" }), end());
    assert.equal(raised.floor, "1.1.0");
    assert.equal(belowFloor(raised, "1.0.9"), true);
    assert.equal(belowFloor(raised, "1.1.0"), false);
    const later = applyEnd({ ...raised, applied: null }, begin({ floor: "0.1.0" }), end());
    assert.equal(later.floor, "1.1.0");
  });

  it("skips what was taken back until it is proven good", () => {
    const back = applyEnd(STATE, begin(), end({ end: "rolled-back", code: "process/exited" }));
    assert.equal(skipOf(back, slot("1.1.0", "b"))?.code, "process/exited");
    assert.deepEqual(back.committed, slot("1.0.0"));
    assert.equal(skipOf(back, slot("1.1.1", "b")), undefined, "the same bytes under a newer version");
    const good = applyEnd({ ...back, applied: null }, begin(), end());
    assert.equal(skipOf(good, slot("1.1.0", "b")), undefined);
  });

  it("skips what an operator went back from, and does not keep it as one to go back to", () => {
    const two = { ...STATE, committed: slot("1.1.0", "b"), good: [slot("1.0.0")] };
    const back = applyEnd(two, begin({ from: slot("1.1.0", "b"), to: slot("1.0.0"), manual: true }), end());
    assert.equal(skipOf(back, slot("1.1.0", "b"))?.code, "agent/rolled-back-by-hand");
    assert.deepEqual(back.good, []);
  });
});

describe("floors and who set them", () => {
  const after = (state: ComponentState, version: string, floor: string | null, id: string): ComponentState =>
    applyEnd(
      state,
      begin({ attempt: id.repeat(32), to: slot(version, "b"), floor }),
      end({ attempt: id.repeat(32) }),
    );
  const of = (...releases: readonly string[]) => new Set(releases);

  it("are remembered one by one, and a release without one changes nothing", () => {
    const one = after(EMPTY_STATE, "1.1.0", "1.0.5", "1");
    assert.deepEqual(one.floors, [{ floor: "1.0.5", by: "1.1.0" }]);
    assert.deepEqual(after(one, "1.2.0", null, "2").floors, one.floors);
    assert.equal(after(EMPTY_STATE, "1.2.0", null, "2").floors, undefined);
    const two = after(one, "2.0.0", "2.0.0", "3");
    assert.deepEqual([two.floor, two.floors!.length], ["2.0.0", 2]);
    assert.deepEqual(after(two, "2.0.0", "1.9.0", "4").floors!.length, 2, "one floor per release");
  });

  it("go with the release that set them, and no other goes", () => {
    const both = after(after(EMPTY_STATE, "1.1.0", "1.0.5", "1"), "666.0.0", "666.0.0", "2");
    const lifted = withoutFloorsOf(both, of("666.0.0"));
    assert.deepEqual([lifted.floor, lifted.floors], ["1.0.5", [{ floor: "1.0.5", by: "1.1.0" }]]);
    assert.equal(withoutFloorsOf(both, of("667.0.0")), both);
    assert.equal(withoutFloorsOf(both, of()), both);
    assert.equal(withoutFloorsOf(lifted, of("666.0.0")), lifted);
    assert.equal(withoutFloorsOf(both, of("666.0.0", "1.1.0")).floor, null);
  });

  it("that an older agent remembered without a name are never lifted", () => {
    const old: ComponentState = { ...EMPTY_STATE, floor: "1.0.5" };
    assert.equal(withoutFloorsOf(old, of("1.1.0")), old);
    const grown = after(old, "666.0.0", "666.0.0", "1");
    assert.deepEqual(grown.floors![0], { floor: "1.0.5", by: null });
    assert.equal(withoutFloorsOf(grown, of("666.0.0")).floor, "1.0.5");
  });

  it("stay lifted although the older of two copies brings the higher floor back", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/c", 0o700);
    const thief = await saveState(disk, layout, after(EMPTY_STATE, "666.0.0", "666.0.0", "1"));
    const older = await disk.read(layout.stateCopy, 1 << 20);
    await saveState(disk, layout, withoutFloorsOf(thief, of("666.0.0")));
    const copy = await disk.open(layout.stateCopy, "write");
    await copy.truncate(0);
    await copy.write(0, older);
    await copy.close();
    const loaded = await loadState(disk, layout);
    assert.equal(loaded.floor, "666.0.0");
    assert.equal(withoutFloorsOf(loaded, of("666.0.0")).floor, null);
  });

  it("are bounded in number, and the highest are kept", () => {
    let state = EMPTY_STATE;
    for (let n = 1; n <= 70; n++)
      state = after(state, `${n}.0.0`, `${n}.0.0`, String.fromCharCode(96 + (n % 6) + 1));
    assert.ok(state.floors!.length <= 64);
    assert.equal(state.floors!.at(-1)!.floor, "70.0.0");
  });

  it("say nothing about which versions were recalled; the channel that is followed does", () => {
    const channel = { name: "stable", recalled: [{ version: "1.1.0", reason: "bad" }] };
    assert.equal(recalledHere({ ...EMPTY_STATE, channel }, "1.1.0")?.reason, "bad");
    assert.equal(recalledHere({ ...EMPTY_STATE, channel }, "1.0.0"), undefined);
    assert.equal(recalledHere(EMPTY_STATE, "1.1.0"), undefined);
  });
});
