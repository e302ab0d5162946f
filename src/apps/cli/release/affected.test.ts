// Tests of who is affected by a recall, on a real store.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import type { Device } from "../../../fleet/records.ts";
import { systemDisk } from "../../../io/system/disk.ts";
import { systemClock } from "../../../io/system/clock.ts";
import { openFleetStore } from "../../../io/fleet-store/store.ts";
import { affectedBy, affectedLines } from "./affected.ts";
import type { Call } from "../../framework/command.ts";

const one = (device: string, cannotGoBack = false, trying = false) => ({
  device,
  name: `name of ${device}`,
  since: "2026-11-21T04:00:00Z",
  trying,
  cannotGoBack,
});

describe("devices that run a recalled release", () => {
  it("are found in the server's records, page by page, by product and running version", async () => {
    const data = mkdtempSync(join(tmpdir(), "upkeep-affected-"));
    try {
      const call = {
        context: { data, store: null, disk: systemDisk, clock: systemClock, terminal: { env: {} } },
      } as unknown as Call;
      assert.equal(await affectedBy(call, "shop", "1.2.0", () => "1.1.0"), null);
      mkdirSync(join(data, "server"));
      const store = await openFleetStore(join(data, "server/upkeep.sqlite"));
      await store.transaction(async (records) => {
        await records.putGroup({ name: "all", interval: 60, created: 0 });
        for (const [id, running, floor] of [
          ["d1", "1.2.0", null],
          ["d2", "1.1.0", null],
          ["d3", "1.2.0", "1.2.0"],
          ["d4", "1.1.0", null],
        ] as const) {
          await records.addDevice({
            id,
            name: id,
            group: "all",
            status: "active",
            enrolled: 0,
            token: "t",
            platform: { os: "linux", arch: "x64", libc: "glibc" },
            reportKey: id.repeat(16),
            spki: id.repeat(32),
            nextSpki: null,
            certificateEnds: 0,
            lastSeen: null,
            // One of them runs it on probation: it says so at check-in, and no report tells yet how that ended.
            claimed: id === "d4" ? [{ product: "shop", version: "1.2.0" }] : [],
            agent: null,
            timestamp: null,
            lastSequence: 0,
            lastReport: null,
          } as Device);
          const rest = { manifestSha256: null, committed: running, sequence: 1, at: 0 };
          await records.putComponent({ device: id, product: "shop", running, floor, ...rest });
        }
      });
      await store.close();
      const found = await affectedBy(call, "shop", "1.2.0", () => "1.1.0");
      assert.deepEqual(
        found?.map(({ device, trying, cannotGoBack }) => [device, trying, cannotGoBack]),
        [
          ["d1", false, false],
          ["d3", false, true],
          ["d4", true, false],
        ],
      );
      assert.deepEqual(await affectedBy(call, "other", "1.2.0", () => null), []);
    } finally {
      rmSync(data, { recursive: true });
    }
  });
});

describe("the list of affected devices", () => {
  it("says nothing where no server keeps records", () => {
    assert.deepEqual(affectedLines("1.2.0", null), []);
  });

  it("names devices, and those that their floor keeps from going back", () => {
    const lines = affectedLines("1.2.0", [one("d1"), one("d2", true)]);
    assert.equal(lines[0], "devices that report running 1.2.0: 2");
    assert.match(lines[2]!, /d2 .* cannot go back: its floor is higher/);
    assert.match(lines.at(-1)!, /1 of them cannot go back below their floor/);
  });

  it("counts those that are trying it apart", () => {
    const lines = affectedLines("1.2.0", [one("d1"), one("d2", false, true)]);
    assert.equal(lines[0], "devices that report running 1.2.0: 1");
    assert.equal(lines[1], "devices that are trying 1.2.0: 1");
    assert.match(lines[3]!, /d2 .* is trying it/);
  });

  it("shows twenty and counts the rest", () => {
    const lines = affectedLines(
      "1.2.0",
      Array.from({ length: 25 }, (_, i) => one(`d${i}`)),
    );
    assert.equal(lines.length, 1 + 20 + 1);
    assert.match(lines.at(-1)!, /and 5 more/);
  });
});
