// A rollout with real programs: the first phase fails on one kind of machine, the rollout halts by itself, the release is recalled and
// repaired, a second person approves, and everybody arrives; one real agent, and light devices with the real protocol.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { DAY } from "../../src/core/instant.ts";
import { addToken } from "../../src/fleet/enrol.ts";
import { formatToken, newToken, parseToken } from "../../src/identity/token.ts";
import type { FleetStore } from "../../src/fleet/store.ts";
import { ServerClientError } from "../../src/io/device/server-failure.ts";
import { openFleetStore } from "../../src/io/fleet-store/store.ts";
import { systemRandom } from "../../src/io/system/random.ts";
import { LightDevice } from "../../src/testing/light-device.ts";
import { eventually, Site, type Json } from "./_agent.ts";
import { enroll, newKeys, type Device } from "./_server.ts";

const root = new URL("../..", import.meta.url).pathname;
const json = (ran: { readonly stdout: string }): Json => JSON.parse(ran.stdout) as Json;

/** Half of the light devices are boards without the device that 1.1.0 wants. */
const LIGHT = 12;
const fails = {
  code: "process/unhealthy",
  reason: "probation failed; its first error: Error: no GPU on this board",
};

/** While this process waited for a command, the server let go of idle connections; an agent asks once more, too. */
const again = <T>(call: () => Promise<T>): Promise<T> => call().catch(() => call());

describe("a rollout whose release fails on one kind of machine", { timeout: 170_000 }, () => {
  let site: Site;
  const connections: Device[] = [];
  const devices: LightDevice[] = [];
  const boards: LightDevice[] = [];
  const rollout = (...words: string[]) => site.upkeep(site.operator, "fleet", "rollout", ...words);
  /** The same as another person, who became root by sudo. */
  const asBob = (...words: string[]) => {
    const { status, stdout, stderr } = spawnSync(
      join(root, "node_modules/.bin/node"),
      [join(root, "src/apps/cli/main.ts"), "--data", site.operator, "fleet", "rollout", ...words],
      { encoding: "utf8", env: { ...process.env, SUDO_USER: "bob" } },
    );
    return { status, signal: null, stdout, stderr };
  };
  /** Every light device asks once. */
  const round = async (): Promise<void> => {
    for (const device of devices) {
      try {
        await device.check(Date.now());
      } catch (error) {
        // A fast machine asks more often than a device may.
        if (!(error instanceof ServerClientError) || error.facts["status"] !== 429) throw error;
        await new Promise((done) => setTimeout(done, 1000 * Number(error.facts["retryAfter"] ?? 1)));
      }
    }
  };
  let store: FleetStore;
  const stateOf = async (id: string) => (await store.read((records) => records.rollout(id)))?.state;

  before(async () => {
    site = await Site.create();
    site.publish("1.0.0");
    await site.startServer();
    site.enroll();
    const made = json(site.ok(site.upkeep(site.operator, "token", "new", "--json")));
    const { caSpkiSha256, rootSha256 } = parseToken(String(made["token"]));
    const pins = { caSpkiSha256, rootSha256 };
    store = await openFleetStore(join(site.operator, "server/upkeep.sqlite"));
    const tokens = Array.from({ length: LIGHT }, () => newToken(systemRandom, pins));
    await store.transaction(async (records) => {
      for (const token of tokens)
        await addToken(records, Date.now(), { ...token, group: "default", life: DAY });
    });
    const server = { address: { host: "127.0.0.1", port: site.serverPort } };
    for (const [n, token] of tokens.entries()) {
      const board = n % 2 === 0;
      const arch = board ? "arm64" : "x64";
      const keys = newKeys();
      const connection = await enroll(server, formatToken(token), keys, { arch, name: `light-${n}` });
      connections.push(connection);
      const device = new LightDevice({
        id: connection.id,
        product: "shop",
        key: keys.report,
        random: systemRandom,
        arch,
        trial: (version) => (board && version === "1.1.0" ? fails : "success"),
        calls: {
          checkIn: (request) => again(() => connection.client.call("checkIn", request)),
          reports: (reports) => again(() => connection.client.call("reports", { reports: [...reports] })),
        },
      });
      devices.push(device);
      if (board) boards.push(device);
    }
    site.ok(site.updateTo("1.0.0"));
    await round();
  });
  after(async () => {
    for (const { client } of connections) client.close();
    await store.close();
    await site.remove();
  });

  it("plans who gets it when, and lets nobody have it while approval is missing", async () => {
    // Two of each kind go first.
    const canaries = devices.slice(0, 4).flatMap(({ id }) => ["--canary", id]);
    const config = [
      ...canaries,
      "--phase",
      "50%",
      "--phase",
      "100%",
      "--soak",
      "0",
      "--sample",
      "2",
      "--success",
      "100",
    ];
    site.ok(rollout("approvals", "1", "shop"));
    // The rollout is made before the channel points to the release.
    site.add("1.1.0");
    const planned = json(site.ok(rollout("plan", "shop", "1.1.0", ...config, "--json")));
    assert.equal((planned["devices"] as readonly Json[]).length, LIGHT + 1);
    site.ok(rollout("new", "shop", "1.1.0", ...config));
    assert.equal(rollout("start", "shop-1").status, 3);
    assert.equal(rollout("approve", "shop-1").status, 3);
    await eventually("the server knows of it", async () => {
      await round();
      const [first] = devices;
      return "hold" in first!.last! && first!.last.hold.reason === "not-your-turn" ? true : null;
    });
    assert.deepEqual(
      devices.map(({ running }) => running),
      devices.map(() => "1.0.0"),
    );
  });

  it("halts by itself, says on which machines and by what error, and no further device gets it", async () => {
    site.ok(asBob("approve", "shop-1"));
    site.ok(rollout("start", "shop-1"));
    await eventually(
      "it halts",
      async () => {
        await round();
        return (await stateOf("shop-1")) === "halted" ? true : null;
      },
      40_000,
    );
    const tried = devices.filter(({ offered }) => offered.includes("1.1.0"));
    assert.ok(tried.length > 0 && tried.length < LIGHT, `${tried.length} tried it`);
    await round();
    assert.deepEqual(
      devices.filter(({ offered }) => offered.includes("1.1.0")),
      tried,
    );
    for (const board of boards) assert.equal(board.running, "1.0.0");
    const status = site.ok(site.upkeep(site.operator, "fleet", "status")).stdout;
    assert.match(status, /linux-arm64-glibc/);
    assert.match(status, /Error: no GPU on this board/);
    assert.match(status, /rollout shop-1 of shop 1\.1\.0 is halted/);
    const waiting = devices.find(({ offered }) => !offered.includes("1.1.0"))!;
    const why = json(site.ok(site.upkeep(site.operator, "fleet", "why", waiting.id, "--json")));
    const [shop] = why["products"] as readonly Json[];
    assert.deepEqual([shop!["rule"], shop!["rollout"], shop!["running"]], ["halted", "shop-1", "1.0.0"]);
  });

  it("ends by the recall, and those that ran the release go back", async () => {
    site.ok(site.upkeep(site.operator, "release", "recall", "shop", "1.1.0", "--reason", "wants a GPU"));
    await eventually(
      "the rollout is recalled and all are back",
      async () => {
        await round();
        return (await stateOf("shop-1")) === "recalled" && devices.every(({ running }) => running === "1.0.0")
          ? true
          : null;
      },
      30_000,
    );
    // From here on the agent runs by itself, and is woken.
    site.startAgent();
    await site.until("1.0.0");
  });

  it("is followed by the repaired release, which a second person approves and everybody gets", async () => {
    site.add("1.1.1");
    site.ok(
      rollout("new", "shop", "1.1.1", "--phase", "50%", "--phase", "100%", "--soak", "0", "--success", "100"),
    );
    site.ok(asBob("approve", "shop-2"));
    site.ok(rollout("start", "shop-2"));
    await eventually(
      "all have it",
      async () => {
        await round();
        return (await stateOf("shop-2")) === "done" ? true : null;
      },
      60_000,
    );
    assert.deepEqual(
      devices.map(({ running }) => running),
      devices.map(() => "1.1.1"),
    );
    await site.until("1.1.1");
    const progress = json(site.ok(site.upkeep(site.operator, "fleet", "progress", "shop", "--json")));
    assert.deepEqual([progress["current"], progress["open"]], [LIGHT + 1, []]);
    assert.ok((progress["times"] as readonly Json[]).every(({ ms }) => typeof ms === "number"));
  });

  it("stands in the audit log with who did what, and the log holds together", () => {
    const { rows, holds } = json(
      site.ok(site.upkeep(site.operator, "fleet", "audit", "--limit", "1000", "--json")),
    ) as { rows: readonly { actor: string; action: string; subject: string }[]; holds: boolean };
    assert.equal(holds, true);
    const of = (id: string) =>
      rows.filter(({ subject }) => subject === id).map(({ actor, action }) => `${actor} ${action}`);
    const me = rows.find(({ action }) => action === "rollout/planned")!.actor;
    assert.deepEqual(of("shop-1"), [
      `${me} rollout/planned`,
      "operator:bob rollout/approved",
      `${me} rollout/started`,
      "server rollout/halted",
      "server rollout/recalled",
    ]);
    assert.deepEqual(of("shop-2"), [
      `${me} rollout/planned`,
      "operator:bob rollout/approved",
      `${me} rollout/started`,
      "server rollout/advanced",
      "server rollout/done",
    ]);
    assert.ok(rows.some(({ action }) => action === "release/recalled"));
  });
});
