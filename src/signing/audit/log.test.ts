// The audit log in a folder: its suite, and what survives a power cut wherever it falls.

import assert from "node:assert/strict";
import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemDisk } from "../../io/system/disk.ts";
import { ending, logOf, portsOf, suiteKey as key, testAuditLog } from "../../testing/audit-log-suite.ts";
import { headPath, segmentPath } from "./files.ts";
import { AuditLog } from "./log.ts";
import { verifyLog } from "./verify.ts";

let root: string;
let serial = 0;
before(async () => {
  root = await mkdtemp(join(tmpdir(), "upkeep-audit-"));
});
after(() => rm(root, { recursive: true, force: true }));

const place = (folder = join(root, `log-${serial++}`)) => ({ disk: systemDisk, folder });
const open = (folder: string) => AuditLog.open(portsOf(place(folder)));

testAuditLog(async () => place());

describe("the audit log in a folder", () => {
  it("keeps the partial tiles of its newest checkpoints, not of all there ever were, also after a restart", async () => {
    const { folder } = await logOf(place(), 0, 1);
    for (let run = 0; run < 2; run++) {
      const { log } = await open(folder);
      for (let i = 0; i < 20; i++) await log.append(ending(run * 20 + i));
      await log.close();
    }
    const widths = async (of: string) =>
      (await readdir(join(folder, "tiles", "tile", of, "000.p"))).map(Number);
    const { log } = await open(folder);
    const { size } = log;
    await log.close();
    for (const kind of ["0", "entries"]) {
      const kept = await widths(kind);
      assert.ok(kept.length <= 9, `${kept.length} of ${kind}`);
      assert.ok(kept.includes(size), "that of the newest checkpoint is there");
    }
  });

  it("keeps what was acknowledged and drops only what never was, wherever the power cut falls", async () => {
    const { folder } = await logOf(place(), 5, 1);
    const head = await readFile(headPath(folder));
    const acknowledged = (await readFile(segmentPath(folder, 0))).length;
    const { log } = await open(folder);
    await log.append(ending(5));
    await log.close();
    const whole = (await readFile(segmentPath(folder, 0))).length;
    for (let cut = acknowledged - 20; cut <= whole; cut += 10) {
      const copy = join(root, `cut-${cut}`);
      await cp(folder, copy, { recursive: true });
      await writeFile(headPath(copy), head);
      await truncate(segmentPath(copy, 0), cut);
      if (cut < acknowledged) {
        await assert.rejects(open(copy), { code: "signing/log-damaged" });
        continue;
      }
      const again = await open(copy);
      assert.equal(again.log.size, cut === whole ? 6 : 5);
      assert.equal(again.dropped, cut === whole ? 0 : cut - acknowledged);
      await again.log.seal(ending(99));
      await again.log.close();
      // The published tiles speak of the entry that the cut took; only they may disagree.
      const { faults } = await verifyLog(systemDisk, copy, key);
      assert.deepEqual(
        faults.filter((f) => f.what !== "edited" && f.what !== "rewritten" && f.what !== "truncated"),
        [],
      );
      await rm(copy, { recursive: true });
    }
  });
});
