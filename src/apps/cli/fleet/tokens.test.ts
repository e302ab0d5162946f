// Tests of removing enrolment tokens, on a real store.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { HOUR } from "../../../core/instant.ts";
import { addToken } from "../../../fleet/enrol.ts";
import { systemClock } from "../../../io/system/clock.ts";
import { systemDisk } from "../../../io/system/disk.ts";
import { openFleetStore } from "../../../io/fleet-store/store.ts";
import type { Call } from "../../framework/command.ts";
import { tokenRemove } from "./tokens.ts";

describe("removing an enrolment token", () => {
  it("wants a yes while the token can still be used, and none when it is over", async () => {
    const data = mkdtempSync(join(tmpdir(), "upkeep-tokens-"));
    try {
      mkdirSync(join(data, "server"));
      const open = "a".repeat(16);
      const over = "b".repeat(16);
      const store = await openFleetStore(join(data, "server/upkeep.sqlite"));
      const now = systemClock.now();
      await store.transaction(async (records) => {
        await records.putGroup({ name: "all", interval: 60, created: 0 });
        for (const [id, made] of [
          [open, now],
          [over, now - 2 * HOUR],
        ] as const)
          await addToken(records, made, { id, secret: "A".repeat(43), group: "all", life: HOUR }, "test");
      });
      await store.close();
      const call = (id: string, yes: boolean): Call =>
        ({
          argument: () => id,
          flag: (name: string) => name === "yes" && yes,
          context: {
            data,
            store: null,
            disk: systemDisk,
            clock: systemClock,
            terminal: { env: {}, stdin: { isTTY: false }, stderr: { isTTY: false } },
          },
        }) as unknown as Call;
      await assert.rejects(tokenRemove(call(open, false)), { code: "cli/usage" });
      // It is still there: the refusal removed nothing.
      assert.deepEqual((await tokenRemove(call(open, true))).json, { token: open, usedBy: null });
      assert.deepEqual((await tokenRemove(call(over, false))).json, { token: over, usedBy: null });
      await assert.rejects(tokenRemove(call(over, true)), { code: "fleet/token-unknown" });
    } finally {
      rmSync(data, { recursive: true, force: true });
    }
  });
});
