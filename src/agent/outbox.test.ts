// The outbox: each report once, in an unbroken chain, whatever happens to process, disk or server.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sha256Hex } from "../core/digest.ts";
import type { ReportResult } from "../message/reports.ts";
import { chainFit, openReport, type Report } from "../report/report.ts";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import type { MemoryDisk } from "../testing/memory-disk.ts";
import type { ChainFields, Outbox } from "./outbox.ts";

const world = new AgentWorld();
const { identity } = world.fleet;

async function boxOn(disk: MemoryDisk): Promise<Outbox> {
  world.restart(disk, "killed");
  return (await world.open()).outbox;
}

const report =
  (to: string) =>
  (fields: ChainFields): Report => ({
    ...fields,
    kind: "attempt",
    attempt: "2".repeat(32),
    product: "shop",
    from: null,
    to,
    outcome: "success",
    step: "committed",
    started: "2026-11-21T04:00:00Z",
    duration: 1,
    bytes: 1,
    source: "origin",
    running: to,
  });

/** A server that keeps what it is sent. */
function server(): {
  readonly got: Report[];
  readonly digests: string[];
  deliver(envelopes: readonly Uint8Array[]): Promise<readonly ReportResult[]>;
} {
  const got: Report[] = [];
  const digests: string[] = [];
  return {
    got,
    digests,
    deliver: async (envelopes) =>
      envelopes.map((envelope): ReportResult => {
        const opened = openReport(envelope, { key: identity.key.publicKey, device: identity.device });
        const known = got.some((other) => other.id === opened.report.id);
        if (!known) {
          got.push(opened.report);
          digests.push(opened.payloadSha256);
        }
        return { sha256: sha256Hex(envelope), result: known ? "duplicate" : "accepted" };
      }),
  };
}

function assertChain(reports: readonly Report[]): void {
  for (const [i, report] of reports.entries()) assert.equal(report.sequence, i + 1);
}

const fresh = (): MemoryDisk => new AgentWorld().disk;

describe("the outbox", () => {
  it("sends oldest first, in a chain without gaps, and forgets what the server has", async () => {
    const box = await boxOn(fresh());
    for (let i = 0; i < 40; i++) await box.add(`key ${i}`, report(`1.${i}.0`));
    const { got, digests, deliver } = server();
    assert.equal(await box.send(deliver), 40);
    assert.equal(box.waiting, 0);
    assertChain(got);
    for (const [i, one] of got.entries()) {
      const before = i === 0 ? null : { sequence: i, payloadSha256: digests[i - 1]! };
      assert.equal(chainFit(before, one), "next");
    }
  });

  it("makes one report of a key, also after a restart and after it was sent", async () => {
    const disk = fresh();
    const box = await boxOn(disk);
    await box.add("attempt 1", report("1.0.0"));
    await box.add("attempt 1", report("1.0.0"));
    assert.equal(box.waiting, 1);
    const { got, deliver } = server();
    await box.send(deliver);
    const again = await boxOn(disk);
    await again.add("attempt 1", report("1.0.0"));
    assert.equal(again.waiting, 0);
    assert.equal(got.length, 1);
  });

  it("keeps everything when the server does not answer, and what the server refuses for now", async () => {
    const box = await boxOn(fresh());
    await box.add("a", report("1.0.0"));
    await assert.rejects(
      box.send(async () => Promise.reject(new Error("unplugged"))),
      /unplugged/,
    );
    assert.equal(box.waiting, 1);
    const later = (final: boolean) => async (envelopes: readonly Uint8Array[]) =>
      envelopes.map(
        (e) => ({ sha256: sha256Hex(e), result: "refused", final, code: "report/x", message: "no" }) as const,
      );
    assert.equal(await box.send(later(false)), 0);
    assert.equal(box.waiting, 1);
    assert.equal(await box.send(later(true)), 0);
    assert.equal(box.waiting, 0);
  });

  it("does not believe a server that speaks of other reports", async () => {
    const box = await boxOn(fresh());
    await box.add("a", report("1.0.0"));
    await box.send(async () => [{ sha256: "0".repeat(64), result: "accepted" }]);
    assert.equal(box.waiting, 1);
  });

  it("raises an alarm once until it is over", async () => {
    const box = await boxOn(fresh());
    const alarm = (fields: ChainFields, since: string): Report => ({
      ...fields,
      kind: "alarm",
      code: "x/y",
      since,
      reason: "z",
    });
    await box.alarm("check x/y", alarm);
    await box.alarm("check x/y", alarm);
    assert.equal(box.waiting, 1);
    await box.clear("check ");
    await box.alarm("check x/y", alarm);
    assert.equal(box.waiting, 1, "the same second gives the same report");
  });

  it("is bounded: alarms make room for ends of attempts, which are never dropped", async () => {
    const box = await boxOn(fresh());
    const alarm = (fields: ChainFields): Report => ({
      ...fields,
      kind: "alarm",
      code: "x/y",
      since: "2026-11-21T04:00:00Z",
      reason: "z",
    });
    await box.add("first", alarm);
    for (let i = 1; i < 500; i++) await box.add(`end ${i}`, report(`1.${i}.0`));
    await box.add("end 500", report("1.500.0"));
    assert.equal(box.waiting, 500);
    await assert.rejects(box.add("end 501", report("1.501.0")), { code: "agent/outbox-full" });
  });

  it("loses nothing and doubles nothing at a power cut during adding", async () => {
    const start = fresh();
    const before = await boxOn(start);
    await before.add("old", report("1.0.0"));
    await crashMatrix(
      start,
      async (disk) => (await boxOn(disk)).add("new", report("1.1.0")),
      async ({ disk }) => {
        const box = await boxOn(disk);
        await box.add("new", report("1.1.0"));
        const { got, deliver } = server();
        await box.send(deliver);
        assertChain(got);
        assert.deepEqual(
          got.map((one) => one.kind === "attempt" && one.to),
          ["1.0.0", "1.1.0"],
        );
      },
    );
  });

  it("puts a damaged report aside and sends the others", async () => {
    const disk = fresh();
    const box = await boxOn(disk);
    await box.add("a", report("1.0.0"));
    await box.add("b", report("1.1.0"));
    const [first] = (await disk.list(`${FOLDER}/outbox`)).filter((name) => name.startsWith("0"));
    disk.tamper(`${FOLDER}/outbox/${first!}`, (bytes) => bytes.subarray(0, 50));
    const { got, deliver } = server();
    await (await boxOn(disk)).send(deliver);
    assert.equal(got.length, 1);
    assert.ok((await disk.list(`${FOLDER}/outbox`)).some((name) => name.endsWith(".damaged")));
  });
});
