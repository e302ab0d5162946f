// States of devices: silence first, then what owners and groups say of updates, and a clock that was wrong deceives nobody.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, MINUTE } from "../core/instant.ts";
import { MemoryFleet } from "../testing/memory-fleet.ts";
import { endReportedAlarms, raiseAlarm } from "./alarms.ts";
import { alertsSince } from "./alerts.ts";
import { deviceState, isHeld } from "./liveness.ts";

const NOW = Date.UTC(2026, 10, 28, 12);
const device = { status: "active", enrolled: NOW - 90 * DAY, lastSeen: NOW - MINUTE } as const;
const facts = { interval: 300, now: NOW, held: false };

describe("the state of a device", () => {
  it("is online, late or dead by its last check-in and its interval", () => {
    const state = (ago: number) => deviceState({ ...device, lastSeen: NOW - ago }, facts);
    assert.deepEqual([MINUTE, 13 * MINUTE, 2 * HOUR].map(state), ["online", "late", "dead"]);
  });

  it("is what its owner says of updates while it is heard, else held if its group is", () => {
    for (const standing of ["held", "opted-out", "disabled"] as const)
      assert.equal(deviceState({ ...device, standing }, facts), standing);
    assert.equal(deviceState({ ...device, standing: "on" }, { ...facts, held: true }), "held");
    assert.equal(deviceState({ ...device, standing: null }, facts), "online");
  });

  it("is dead or revoked before all else", () => {
    const silent = { ...device, standing: "held", lastSeen: NOW - DAY } as const;
    assert.equal(deviceState(silent, { ...facts, held: true }), "dead");
    assert.equal(deviceState({ ...silent, status: "revoked" }, facts), "revoked");
  });

  it("is dead for a device that was seen last under a server's clock that was a year ahead", () => {
    const seen = { ...device, lastSeen: NOW + 365 * DAY };
    assert.equal(deviceState(seen, facts), "dead");
    assert.equal(deviceState({ ...seen, enrolled: NOW + 365 * DAY }, facts), "dead");
  });

  it("is held by a group whose every product is on hold, and not by a hold that is over", () => {
    const hold = { hold: "paused", holdUntil: null };
    assert.equal(isHeld([hold, hold], NOW), true);
    assert.equal(isHeld([hold, { hold: null, holdUntil: null }], NOW), false);
    assert.equal(isHeld([{ hold: "paused", holdUntil: NOW }], NOW), false);
    assert.equal(isHeld([], NOW), false);
  });
});

describe("an alarm that a device raised", () => {
  const raise = (records: MemoryFleet, code: string, about = "") =>
    raiseAlarm(records, NOW, { device: "d", code, about, detail: "x" });
  const open = (records: MemoryFleet) =>
    [...records.alarmRows.values()].filter(({ ended }) => ended === null).map(({ code }) => code);

  it("is over when the device lists it no more, also when it is about no product", async () => {
    const records = new MemoryFleet();
    await raise(records, "mirror/unreachable");
    await raise(records, "agent/wrong-release", "shop");
    await raise(records, "agent/wrong-release", "tills");
    await endReportedAlarms(records, NOW + 1, "d", [{ code: "agent/wrong-release", about: "tills" }]);
    const left = [...records.alarmRows.values()].filter(({ ended }) => ended === null);
    assert.deepEqual(
      left.map(({ about }) => about),
      ["tills"],
    );
  });

  it("lasts until somebody looked when it tells of tampering, although the device put it right", async () => {
    const records = new MemoryFleet();
    await raise(records, "slot/damaged", "shop");
    await endReportedAlarms(records, NOW + 1, "d", []);
    assert.equal(open(records).length, 1);
    const [row] = records.alarmRows.values();
    await records.putAlarm({ ...row!, acknowledgedBy: "ann", acknowledgedAt: NOW + 2 });
    await endReportedAlarms(records, NOW + 3, "d", []);
    assert.equal(open(records).length, 0);
  });

  it("is told apart from what the server saw, which no device can end", async () => {
    const records = new MemoryFleet();
    for (const code of ["device/clone-suspected", "report/fork", "rollout/halted"])
      await raise(records, code);
    await endReportedAlarms(records, NOW + 1, "d", []);
    assert.equal(open(records).length, 3);
  });

  it("is not ended by a check-in from before it", async () => {
    const records = new MemoryFleet();
    await raise(records, "mirror/unreachable");
    await endReportedAlarms(records, NOW - 1, "d", []);
    assert.equal(open(records).length, 1);
  });

  it("is an alert when it begins and when it ends, each once", async () => {
    const records = new MemoryFleet();
    await raise(records, "mirror/unreachable");
    const events = async (since: number, now: number) =>
      (await alertsSince(records, since, now)).map(({ event }) => event);
    assert.deepEqual(await events(NOW - 1, NOW), ["alarm-began"]);
    assert.deepEqual(await events(NOW, NOW + 9), []);
    await endReportedAlarms(records, NOW + 5, "d", []);
    assert.deepEqual(await events(NOW, NOW + 9), ["alarm-ended"]);
  });
});
