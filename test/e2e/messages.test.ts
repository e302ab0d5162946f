// Sealed messages with real programs: a server, agents, and a thief who holds the messenger key and yesterday's messages.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fromHex, toHex } from "../../src/core/bytes.ts";
import { sha256Hex } from "../../src/core/digest.ts";
import { loadIdentity } from "../../src/io/device/device-identity.ts";
import { connectOptions } from "../../src/io/device/tls.ts";
import { openFleetStore } from "../../src/io/fleet-store/store.ts";
import { systemDisk } from "../../src/io/system/disk.ts";
import { systemRandom } from "../../src/io/system/random.ts";
import { openKeyStore } from "../../src/io/keys/key-store.ts";
import { localSigner, type Signer } from "../../src/keys/signer.ts";
import { lifeFrom, type MessageAsk } from "../../src/message/sealed/body.ts";
import { sealMessage } from "../../src/message/sealed/form.ts";
import { eventually, Site, type Json } from "./_agent.ts";

type Messages = {
  readonly accepted: number;
  readonly coalesced: number;
  readonly waiting: readonly { readonly kind: string }[];
  readonly dropped: { readonly [why: string]: number };
};

let site: Site;
let device: string;
before(async () => {
  site = await Site.create();
  site.publish("1.0.0");
  await site.startServer();
  site.enroll();
  site.startAgent();
  await site.until("1.0.0");
  device = site.status()["device"] as string;
  await eventually("the stream stands", () => (site.status()["wakeUps"] === "connected" ? true : null));
  // The second check brings the server's answer that it holds the key.
  site.ok(site.update());
});
after(() => site.remove());

const messages = (): Messages => site.status()["messages"] as unknown as Messages;
const operator = (...args: string[]): Json =>
  JSON.parse(site.ok(site.upkeep(site.operator, ...args, "--json")).stdout) as Json;
const accepted = (count: number): Promise<true> =>
  eventually(`${count} messages are accepted`, () => (messages().accepted >= count ? true : null));
const checks = (): number => site.agentLog.split('"event":"agent/check"').length - 1;
const keyOf = async (): Promise<Uint8Array> => {
  const store = await openFleetStore(join(site.operator, "server/upkeep.sqlite"));
  try {
    return fromHex((await store.read((records) => records.messageKey(device)))!.key);
  } finally {
    await store.close();
  }
};
const fleet = (): string => sha256Hex(readFileSync(join(site.operator, "repository/metadata/1.root.json")));
const messenger = (): Promise<Signer> =>
  openKeyStore(join(site.operator, "keys"), {
    disk: systemDisk,
    random: systemRandom,
    ask: async () => null,
  }).signer("messenger");
let last = 0;
const forge = async (ask: MessageAsk, by: Signer): Promise<Uint8Array> => {
  last = Math.max(Date.now(), last + 1);
  return sealMessage(
    { to: device, id: toHex(systemRandom.bytes(16)), counter: last, ...lifeFrom(Date.now()), ...ask },
    { key: await keyOf(), fleet: fleet() },
    by,
    systemRandom.bytes(32),
  );
};
const drop = (name: string, bytes: Uint8Array): void => {
  mkdirSync(join(site.device, "messages"), { recursive: true });
  // Whole or not there at all, as whoever puts a file there has to do it.
  writeFileSync(join(site.device, `messages/${name}.tmp`), bytes);
  renameSync(join(site.device, `messages/${name}.tmp`), join(site.device, `messages/${name}.sealed`));
};

describe("sealed messages between real programs", () => {
  it("wake an agent over its stream, and the wake-up says why in the audit log", async () => {
    const before = checks();
    const woken = operator("fleet", "wake", "default", "--reason", "a story");
    await accepted(1);
    await eventually("the agent checks", () => (checks() > before ? true : null));
    assert.equal(woken["scope"], "group:default");
    const { rows } = operator("fleet", "audit") as unknown as { rows: { action: string; facts: Json }[] };
    assert.equal(rows.findLast(({ action }) => action === "fleet/woken")?.facts["reason"], "a story");
  });

  it("bring a release to the device, as a wake-up always did", async () => {
    site.publish("1.1.0");
    await site.until("1.1.0");
  });

  it("ask for a report: running version, slots, digest, boot, disk, platform", async () => {
    operator("fleet", "ask-report", device.slice(0, 8));
    const report = await eventually("the inventory arrives", () => {
      const { reports } = operator("report", "list") as unknown as {
        reports: { kind: string; envelope: string }[];
      };
      const found = reports.find(({ kind }) => kind === "inventory");
      if (found === undefined) return null;
      const { payload } = JSON.parse(found.envelope) as { payload: string };
      return JSON.parse(Buffer.from(payload, "base64").toString("utf8")) as {
        boot: string;
        components: {
          running: string;
          manifestSha256: string;
          slots: { version: string; current: boolean }[];
        }[];
        platform: { os: string };
        disk: { free: number; total: number };
      };
    });
    const [shop] = report.components;
    assert.deepEqual([shop!.running, report.platform.os], ["1.1.0", process.platform]);
    assert.match(shop!.manifestSha256, /^[0-9a-f]{64}$/);
    assert.deepEqual(
      shop!.slots.map(({ version, current }) => [version, current]),
      [
        ["1.0.0", false],
        ["1.1.0", true],
      ],
    );
    assert.match(report.boot, /^[0-9a-f]{32}$/);
    assert.ok(report.disk.free > 0 && report.disk.free <= report.disk.total);
  });

  it("are carried by hand, once, and show nothing to who carries them", () => {
    const file = join(site.folder, "till.sealed");
    operator("message", "seal", device, "--kind", "report", "--out", file);
    assert.equal(operator("message", "show", file)["device"], device);
    const bytes = readFileSync(file);
    assert.equal(bytes.length, 836);
    for (const word of [device, "report", "messenger", fleet()]) assert.ok(!bytes.includes(word));
    const deliver = () => site.upkeep(site.device, "agent", "message", "deliver", file, "--json");
    assert.equal((JSON.parse(site.ok(deliver()).stdout) as Json)["verdict"], "followed");
    const again = deliver();
    assert.equal(again.status, 3);
    assert.match(again.stderr, /message\/refused/);
  });

  it("of a thief with the messenger key cause twenty checks an hour, and no more after a restart of the agent", async () => {
    const by = await messenger();
    const already = messages();
    for (let i = 0; i < 28; i++) drop(`thief-${i}`, await forge({ kind: "update-check", when: "now" }, by));
    await eventually(
      "all are judged",
      () => (messages().accepted >= already.accepted + 28 ? true : null),
      90_000,
    );
    assert.ok(messages().coalesced >= 8, JSON.stringify(messages()));
    const { coalesced } = messages();
    await site.stopAgent();
    site.startAgent();
    await eventually("it runs", () => (site.status()["live"] === true ? true : null));
    for (let i = 0; i < 5; i++) drop(`later-${i}`, await forge({ kind: "update-check", when: "now" }, by));
    await eventually("these too", () => (messages().coalesced >= coalesced + 5 ? true : null), 90_000);
    assert.equal(await site.ask(), "1.1.0");
  });

  it("of yesterday, of a stranger, for another, or changed, are counted and nothing else", async () => {
    const stranger = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
    const true_ = await messenger();
    const { accepted } = messages();
    const yesterday = Date.now() - 86_400_000;
    const flipped = await forge({ kind: "report" }, true_);
    flipped[100]! ^= 1;
    drop("stranger", await forge({ kind: "report" }, stranger));
    drop("flipped", flipped);
    drop("garbage", new Uint8Array(836));
    drop(
      "yesterday",
      await sealMessage(
        {
          to: device,
          id: "0".repeat(32),
          counter: yesterday,
          ...lifeFrom(yesterday, 3_600_000),
          kind: "report",
        },
        { key: await keyOf(), fleet: fleet() },
        true_,
        systemRandom.bytes(32),
      ),
    );
    const dropped = await eventually("all are judged", () => {
      const { dropped } = messages();
      return dropped["expired"] !== undefined ? dropped : null;
    });
    assert.deepEqual(
      [dropped["unknown-signer"], dropped["cannot-open"], dropped["wrong-form"], dropped["expired"]],
      [1, 1, 1, 1],
    );
    assert.equal(messages().accepted, accepted);
    assert.deepEqual(readdirSync(join(site.device, "messages")), []);
  });

  it("show nothing to who takes TLS away: what a terminator in the middle sees is sealed once more", async () => {
    const { record, server, client } = await loadIdentity(systemDisk, join(site.device, "identity"));
    const seen: Buffer[] = [];
    const request = httpsRequest({
      ...connectOptions({ ...server, ...record.server }, client),
      path: "/v1/wake",
      headers: { accept: "text/event-stream", "upkeep-sealed-after": "0" },
    });
    request.on("response", (answer) => answer.on("data", (part: Buffer) => void seen.push(part)));
    request.on("error", () => undefined);
    request.end();
    try {
      operator("fleet", "wake", device.slice(0, 8));
      const text = await eventually("a sealed event comes", () => {
        const all = Buffer.concat(seen).toString("latin1");
        return /^event: sealed\ndata: [A-Za-z0-9+/=]{1116}$/m.test(all) ? all : null;
      });
      const opened = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => Buffer.from(data!, "base64"));
      for (const word of [device, "update-check", "kind", "expires", "1.1.0", "shop", "check"]) {
        assert.ok(!text.includes(word), word);
        assert.ok(
          opened.every((bytes) => !bytes.includes(word)),
          word,
        );
      }
    } finally {
      request.destroy();
    }
  });

  it("go to a device, and not a bare number, which nobody signed", () => {
    assert.match(site.serverLog, /server\/messages-sealed/);
  });
});
