// Answers to devices when other things happen at the same time.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { DsseSigner } from "../../core/dsse.ts";
import { toBase64 } from "../../core/bytes.ts";
import type { Device } from "../../fleet/records.ts";
import { wake } from "../../fleet/wake.ts";
import { systemClock } from "../../io/system/clock.ts";
import { openFleetStore } from "../../io/fleet-store/store.ts";
import { systemRandom } from "../../io/system/random.ts";
import { localSigner } from "../../keys/signer.ts";
import { serverApi, type ApiOptions } from "./api.ts";
import { FleetView } from "./fleet-view.ts";
import { Metrics } from "./metrics.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-api-"));
after(() => rmSync(folder, { recursive: true }));

describe("a check-in", () => {
  it("that is answered while the fleet changes never names the wake-up of that change as known", async () => {
    const store = await openFleetStore(join(folder, "fleet.sqlite"));
    const view = new FleetView(store, systemClock);
    await view.load();
    const real = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
    const change = async (): Promise<void> => {
      await store.transaction((records) => wake(records, "group:default"));
      await view.load();
    };
    let meanwhile: () => Promise<void> = change;
    // The decision is made, and while it is being signed the group is woken for a newer one.
    const director: DsseSigner = {
      publicKey: real.publicKey,
      sign: async (message) => {
        await meanwhile();
        return real.sign(message);
      },
    };
    const api = serverApi({
      store,
      view,
      director,
      clock: systemClock,
      random: systemRandom,
      metrics: new Metrics(),
      trust: undefined as never,
      findRelease: async () => null,
    } satisfies ApiOptions);
    const device = { id: "00000000-0000-4000-8000-000000000001", group: "default" } as Device;
    const ask = () =>
      api.handlers.checkIn(
        { headers: {} } as never,
        {
          nonce: toBase64(systemRandom.bytes(32)),
          platform: { os: "linux", arch: "x64", libc: "glibc" },
          components: [],
        },
        device,
      );
    const first = await ask();
    const woken = view.newestWake(device);
    assert.ok(first.seq < woken, `the answer knows ${first.seq}, the change woke with ${woken}`);
    meanwhile = async () => {};
    assert.equal((await ask()).seq, woken);
    await store.close();
  });
});
