// What was asked of devices: the newest of each kind, for those it concerns, in time, and with numbers that only grow.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, MINUTE } from "../core/instant.ts";
import { MemoryFleet } from "../testing/memory-fleet.ts";
import { askDevices, askOf, nextCounter, ordersFor, orderWakeUps } from "./messages.ts";
import { wake } from "./wake.ts";

const NOW = Date.UTC(2026, 10, 28, 12);
const device = { id: "d", group: "tills" };
const by = { actor: "operator:ann", reason: "a fix" };
const fresh = { after: 0, checkedUpTo: 0 };
const check = { kind: "update-check", when: "now" } as const;

describe("what is asked of devices", () => {
  it("concerns everybody, a group or one device, and the newest of a kind stands for all", async () => {
    const records = new MemoryFleet();
    await askDevices(records, NOW, "all", check, by);
    await askDevices(records, NOW, "group:others", { kind: "report" }, by);
    await askDevices(records, NOW, "device:d", { kind: "update-check", when: "idle", splay: 60 }, by);
    await askDevices(records, NOW, "group:tills", { kind: "refresh-trust" }, by);
    const due = ordersFor(await records.messageOrders(), device, NOW, fresh);
    assert.deepEqual(due.map(askOf), [
      { kind: "update-check", when: "idle", splay: 60 },
      { kind: "refresh-trust" },
    ]);
  });

  it("stands in the audit log with who and why, before any device hears of it", async () => {
    const records = new MemoryFleet();
    await askDevices(records, NOW, "all", { kind: "report" }, by);
    const [row] = records.auditRows;
    assert.deepEqual([row!.actor, row!.action, row!.facts["reason"]], [by.actor, "fleet/asked", by.reason]);
  });

  it("is not sent twice on one stream, nor as a check that was made already, nor after a day", async () => {
    const records = new MemoryFleet();
    const { counter } = await askDevices(records, NOW, "all", check, by);
    const report = await askDevices(records, NOW, "all", { kind: "report" }, by);
    const orders = await records.messageOrders();
    const kinds = (now: number, told: typeof fresh) =>
      ordersFor(orders, device, now, told).map(({ kind }) => kind);
    assert.deepEqual(kinds(NOW, fresh), ["update-check", "report"]);
    assert.deepEqual(kinds(NOW, { ...fresh, after: counter }), ["report"]);
    assert.deepEqual(kinds(NOW, { ...fresh, checkedUpTo: report.counter }), ["report"]);
    assert.deepEqual(kinds(NOW + DAY - 1, fresh), ["update-check", "report"]);
    assert.deepEqual(kinds(NOW + DAY, fresh), []);
  });

  it("has a number above all before, of the time it was asked, also over a clock that was ahead", async () => {
    const records = new MemoryFleet();
    assert.equal(await nextCounter(records, NOW), NOW);
    assert.equal(await nextCounter(records, NOW), NOW + 1);
    assert.equal(await nextCounter(records, NOW - MINUTE), NOW + 2);
    assert.equal(
      await nextCounter(records, NOW - HOUR),
      NOW - HOUR,
      "what was given far ahead is refused by devices",
    );
  });

  it("is a bare wake-up as well when it is for now, and when it is for later it is none", async () => {
    const records = new MemoryFleet();
    assert.equal((await askDevices(records, NOW, "all", check, by)).seq, 1);
    const later = { kind: "update-check", when: "next-start" } as const;
    assert.equal((await askDevices(records, NOW, "all", later, by)).seq, null);
    assert.deepEqual([...(await records.wakes())], [["all", 1]]);
  });

  it("for later stays what it is, though the scope was woken before", async () => {
    const records = new MemoryFleet();
    await askDevices(records, NOW, "all", check, by);
    await askDevices(records, NOW, "all", { kind: "update-check", when: "idle" }, by);
    assert.equal(await orderWakeUps(records, NOW), 0);
    const [order] = ordersFor(await records.messageOrders(), device, NOW, fresh);
    assert.equal(order?.when, "idle");
  });

  it("comes of every wake-up, whatever made it, once", async () => {
    const records = new MemoryFleet();
    await wake(records, "group:tills");
    assert.equal(await orderWakeUps(records, NOW), 1);
    assert.equal(await orderWakeUps(records, NOW), 0);
    assert.deepEqual(ordersFor(await records.messageOrders(), device, NOW, fresh).map(askOf), [check]);
  });
});
