// Reports as the server takes them in: what counts once, what breaks a chain, and what is noted of signed words only.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sha256Hex } from "../core/digest.ts";
import { toUtf8 } from "../core/bytes.ts";
import { parseInstant } from "../core/instant.ts";
import { resultOf, type AttemptReport, type InventoryReport, type Report } from "../report/report.ts";
import { MemoryFleet } from "../testing/memory-fleet.ts";
import { releasesIn, reportLine, REPORTS_KEPT, takeReport } from "./intake.ts";
import type { Device, DeviceComponent } from "./records.ts";

const now = parseInstant("2026-11-21T05:00:00Z");
const DEVICE = "00000000-0000-4000-8000-000000000001";
const device: Device = {
  id: DEVICE,
  name: "till 1",
  group: "tills",
  status: "active",
  enrolled: now,
  token: "f".repeat(16),
  platform: { os: "linux", arch: "x64" },
  reportKey: "a".repeat(64),
  spki: "b".repeat(64),
  nextSpki: null,
  certificateEnds: now,
  lastSeen: null,
  claimed: [],
  agent: null,
  timestamp: null,
  lastSequence: 0,
  lastReport: null,
};
const LISTED = ["1.0.0", "1.1.0", "2.0.0"];
const isListed = (product: string, version: string): boolean =>
  product === "shop" && LISTED.includes(version);

const digestOf = (report: Report): string => sha256Hex(toUtf8(JSON.stringify(report)));
const head = (sequence: number, previous: string | null) => ({
  id: String(sequence).padStart(32, "0"),
  device: DEVICE,
  sequence,
  previous,
  issued: "2026-11-21T04:00:00Z",
  boot: "c".repeat(32),
});
const attempt = (
  sequence: number,
  more: Partial<AttemptReport> = {},
  before: Report | null = null,
): Report => ({
  ...head(sequence, before === null ? null : digestOf(before)),
  kind: "attempt",
  attempt: "d".repeat(32),
  product: "shop",
  from: "1.0.0",
  to: "1.1.0",
  outcome: "success",
  step: "committed",
  started: "2026-11-21T03:59:00Z",
  duration: 60_000,
  bytes: 10,
  source: "origin",
  running: "1.1.0",
  ...more,
});
const component = (product: string, running: string | null) => ({
  product,
  running,
  manifestSha256: null,
  committed: running,
  floor: null,
});
const inventory = (
  sequence: number,
  components: InventoryReport["components"],
  before: Report | null = null,
): Report => ({
  ...head(sequence, before === null ? null : digestOf(before)),
  kind: "inventory",
  components,
});
const alarm = (sequence: number, before: Report | null = null): Report => ({
  ...head(sequence, before === null ? null : digestOf(before)),
  kind: "alarm",
  code: "slot/damaged",
  since: "2026-11-21T04:00:00Z",
  product: "shop",
  reason: "bin/run has other bytes",
});

async function server() {
  const records = new MemoryFleet();
  await records.addDevice(device);
  const take = async (report: Report, payloadSha256 = digestOf(report)) =>
    takeReport(
      records,
      isListed,
      now,
      records.deviceRows.get(DEVICE)!,
      { report, payloadSha256 },
      "envelope",
    );
  const alarms = () => [...records.alarmRows.values()].map((row) => row.code).sort();
  const runs = () => [...records.componentRows.values()].map((c) => `${c.product} ${c.running}`);
  const place = () => {
    const { lastSequence, lastReport } = records.deviceRows.get(DEVICE)!;
    return [lastSequence, lastReport];
  };
  return { records, take, alarms, runs, place };
}

describe("a report", () => {
  it("counts once however often it comes (replay)", async () => {
    const { records, take, alarms } = await server();
    assert.equal(await take(attempt(1)), "accepted");
    assert.equal(await take(attempt(1)), "duplicate");
    assert.deepEqual([records.reportRows.length, alarms()], [1, []]);
  });

  it("with an id that came with other content is a conflict, changes nothing, and raises an alarm", async () => {
    const { records, take, alarms, runs } = await server();
    await take(attempt(1));
    assert.equal(await take(attempt(1, { to: "2.0.0", running: "2.0.0" })), "conflict");
    assert.deepEqual(alarms(), ["report/id-reused"]);
    assert.deepEqual([records.reportRows.length, runs()], [1, ["shop 1.1.0"]]);
  });

  it("moves the end of the chain on, in order and over a gap", async () => {
    const { take, alarms, place } = await server();
    const [one, three] = [attempt(1), attempt(3)];
    const two = inventory(2, [component("shop", "1.1.0")], one);
    await take(one);
    await take(two);
    assert.deepEqual([place(), alarms()], [[2, digestOf(two)], []]);
    await take({ ...three, sequence: 4, previous: digestOf(two) });
    assert.deepEqual(alarms(), ["report/gap"]);
    assert.equal(place()[0], 4);
  });

  it("that is the first one known of its device, but not its first, tells of a gap", async () => {
    const { take, alarms } = await server();
    await take(attempt(5, {}, attempt(4)));
    assert.deepEqual(alarms(), ["report/gap"]);
  });

  it("older than the end of the chain is kept, told of, and does not wind the chain back", async () => {
    const { records, take, alarms, place } = await server();
    const [one, two] = [attempt(1), attempt(2, {}, attempt(1))];
    await take(one);
    await take(two);
    await take({ ...attempt(1), id: "e".repeat(32) });
    assert.deepEqual(alarms(), ["report/out-of-order"]);
    assert.deepEqual([records.reportRows.length, place()], [3, [2, digestOf(two)]]);
  });

  it("that follows another past than the known one tells of two chains (cloned device)", async () => {
    const { take, alarms } = await server();
    await take(attempt(1));
    await take(attempt(2, {}, attempt(1, { bytes: 999 })));
    assert.deepEqual(alarms(), ["report/fork"]);
  });

  it("of an alarm raises it, and says nothing of what runs", async () => {
    const { records, take, alarms, runs } = await server();
    await take(alarm(1));
    assert.deepEqual([alarms(), runs()], [["slot/damaged"], []]);
    const [row] = records.reportRows;
    assert.deepEqual(
      [row!.product, row!.code, row!.reason, row!.outcome, row!.from],
      ["shop", "slot/damaged", "bin/run has other bytes", null, null],
    );
    assert.equal(reportLine(row!), `2026-11-21T05:00:00Z ${DEVICE} #1 alarm slot/damaged`);
  });

  it("is kept with what it says, and only the newest are kept", async () => {
    const { records, take } = await server();
    const report = attempt(1, { outcome: "failure", code: "slot/disk-full", running: null, reason: "full" });
    await take(report);
    assert.deepEqual(records.reportRows, [
      {
        id: report.id,
        device: DEVICE,
        sequence: 1,
        kind: "attempt",
        received: now,
        issued: parseInstant("2026-11-21T04:00:00Z"),
        product: "shop",
        from: "1.0.0",
        to: "1.1.0",
        outcome: "failure",
        code: "slot/disk-full",
        step: "committed",
        reason: "full",
        payloadSha256: digestOf(report),
        envelope: "envelope",
      },
    ]);
    const filler = records.reportRows[0]!;
    for (let i = 0; i < REPORTS_KEPT; i++) records.reportRows.push({ ...filler, id: `old ${i}` });
    await take(inventory(2, [], report));
    assert.equal(records.reportRows.length, REPORTS_KEPT);
    assert.equal(records.reportRows.at(-1)!.kind, "inventory");
  });
});

describe("what runs on a device", () => {
  const stored = (product: string, running: string | null, sequence: number): DeviceComponent => ({
    ...component(product, running),
    device: DEVICE,
    sequence,
    at: now,
  });

  it("is what an attempt says, and committed is what came through", async () => {
    const { records, take } = await server();
    await records.putComponent({ ...stored("shop", "1.0.0", 0), floor: "0.9.0" });
    const failed = attempt(1, { outcome: "rolled-back", code: "process/unhealthy", running: "1.0.0" });
    await take(failed);
    const row = () => records.componentRows.get(`${DEVICE} shop`)!;
    assert.deepEqual([row().running, row().committed, row().floor], ["1.0.0", "1.0.0", "0.9.0"]);
    await take(attempt(2, {}, failed));
    assert.deepEqual([row().running, row().committed, row().sequence], ["1.1.0", "1.1.0", 2]);
    assert.equal(row().at, parseInstant("2026-11-21T04:00:00Z"));
  });

  it("of a first install that failed is nothing, and nothing is committed", async () => {
    const { records, take } = await server();
    await take(attempt(1, { from: null, outcome: "failure", code: "slot/disk-full", running: null }));
    const row = records.componentRows.get(`${DEVICE} shop`)!;
    assert.deepEqual([row.running, row.committed, row.floor], [null, null, null]);
  });

  it("is not overwritten by an older report that comes late, but by one of the same number", async () => {
    const { records, take, runs } = await server();
    await records.putComponent(stored("shop", "2.0.0", 5));
    await take(inventory(4, [component("shop", "1.0.0")], attempt(3)));
    assert.deepEqual(runs(), ["shop 2.0.0"]);
    await take(inventory(5, [component("shop", "1.1.0")], attempt(4)));
    assert.deepEqual(runs(), ["shop 1.1.0"]);
  });

  it("is only what an inventory lists, unless the inventory comes late", async () => {
    const { records, take, runs } = await server();
    await records.putComponent(stored("shop", "1.0.0", 2));
    await records.putComponent(stored("mail", "1.0.0", 3));
    await take(inventory(1, [component("shop", "1.0.0")]));
    assert.deepEqual(runs(), ["shop 1.0.0", "mail 1.0.0"]);
    await take(inventory(2, [component("shop", "1.0.0")], attempt(1)));
    assert.deepEqual(runs(), ["shop 1.0.0"]);
  });

  it("drops nothing because of an attempt, which names one product only", async () => {
    const { records, take, runs } = await server();
    await records.putComponent(stored("mail", "1.0.0", 0));
    await take(attempt(1));
    assert.deepEqual(runs(), ["mail 1.0.0", "shop 1.1.0"]);
  });

  it("that no repository lists raises an alarm, and is noted all the same", async () => {
    const { take, alarms, runs } = await server();
    await take(attempt(1, { to: "6.6.6", running: "6.6.6" }));
    assert.deepEqual([alarms(), runs()], [["device/unlisted-version"], ["shop 6.6.6"]]);
    const listed = await server();
    await listed.take(inventory(1, [component("shop", "1.0.0"), component("mail", null)]));
    assert.deepEqual(listed.alarms(), []);
  });

  it("that went back raises an alarm unless an attempt says why", async () => {
    const went = async (from: string, report: Report) => {
      const { records, take, alarms } = await server();
      await records.putComponent(stored("shop", from, 0));
      await take(report);
      return alarms();
    };
    const lower = inventory(1, [component("shop", "1.0.0")]);
    assert.deepEqual(await went("1.1.0", lower), ["device/version-went-back"]);
    assert.deepEqual(await went("1.0.0", lower), []);
    assert.deepEqual(await went("0.9.0", lower), []);
    assert.deepEqual(await went("2.0.0", attempt(1)), []);
    const { records, take, alarms } = await server();
    await records.putComponent(stored("shop", null, 0));
    await take(lower);
    assert.deepEqual(alarms(), []);
  });

  it("is noted of so many products only from attempts alone, and of all in an inventory", async () => {
    const { records, take } = await server();
    const known = (count: number) => {
      records.componentRows.clear();
      for (let i = 0; i < count; i++)
        records.componentRows.set(`${DEVICE} p${i}`, { ...stored(`p${i}`, null, 0) });
    };
    known(127);
    const one = attempt(1);
    await take(one);
    assert.ok(records.componentRows.has(`${DEVICE} shop`));
    known(128);
    const two = attempt(2, { to: "2.0.0", running: "2.0.0" }, one);
    await take(two);
    assert.ok(!records.componentRows.has(`${DEVICE} shop`));
    const three = attempt(3, { product: "p0", to: "2.0.0", running: "2.0.0" }, two);
    await take(three);
    assert.equal(records.componentRows.get(`${DEVICE} p0`)!.running, "2.0.0");
    await take(inventory(4, [component("shop", "2.0.0")], three));
    assert.deepEqual([...records.componentRows.keys()], [`${DEVICE} shop`]);
  });
});

describe("the words of a report", () => {
  const line = async (report: Report): Promise<string> => {
    const { records, take } = await server();
    await take(report);
    return reportLine(records.reportRows[0]!).split("#1 ")[1]!;
  };

  it("say from where to where, what became of it, and why not", async () => {
    assert.equal(await line(attempt(1)), "shop 1.0.0 → 1.1.0: success");
    const first = { from: null, outcome: "failure", code: "slot/disk-full", running: null } as const;
    assert.equal(
      await line(attempt(1, first)),
      "shop nothing → 1.1.0: failure (slot/disk-full at committed)",
    );
    assert.equal(await line(inventory(1, [])), "inventory");
  });

  it("tell a repair from an update", async () => {
    const repair = { from: "1.1.0", step: "repaired" };
    assert.equal(await line(attempt(1, repair)), "shop 1.1.0: repaired");
    const failed = { ...repair, step: "staged", outcome: "failure", code: "slot/disk-full" } as const;
    assert.equal(await line(attempt(1, failed)), "shop 1.1.0: repair: failure (slot/disk-full at staged)");
    assert.equal(resultOf(attempt(1) as AttemptReport), "success");
  });

  it("name the releases that are said to run", () => {
    assert.deepEqual(releasesIn(attempt(1)), [{ product: "shop", version: "1.1.0" }]);
    assert.deepEqual(releasesIn(alarm(1)), []);
    assert.deepEqual(releasesIn(inventory(1, [component("shop", "1.0.0"), component("mail", null)])), [
      { product: "shop", version: "1.0.0" },
    ]);
  });
});
