// What a server looks at before it serves, and says when it cannot be relied on: its records, its director, its clock.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { DAY } from "../../core/instant.ts";
import { addToken } from "../../fleet/enrol.ts";
import { newToken } from "../../identity/token.ts";
import { openFleetStore } from "../../io/fleet-store/store.ts";
import { systemClock } from "../../io/system/clock.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { systemRandom } from "../../io/system/random.ts";
import { localSigner } from "../../keys/signer.ts";
import { TRUSTED_KEYS_TARGET } from "../../release/target-names.ts";
import { serialiseTrustedKeys } from "../../release/trusted-keys.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { startUpdateServer, type UpdateServer, type UpdateServerOptions } from "./server.ts";

const folders: string[] = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

const newKey = () => localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");

/** A data folder with a repository that trusts `director`. */
async function place() {
  const data = mkdtempSync(join(tmpdir(), "upkeep-start-"));
  folders.push(data);
  const director = newKey();
  const repo = await RepositorySimulator.create({ now: Date.now() });
  const trust = (key: typeof director): void =>
    repo.addTarget(
      TRUSTED_KEYS_TARGET,
      serialiseTrustedKeys({
        keys: new Map([[key.publicKey.keyid, key.publicKey]]),
        grants: [{ kind: "assignment", products: "*", keyids: [key.publicKey.keyid], threshold: 1 }],
      }),
    );
  const publish = async (): Promise<void> => {
    repo.snapshot.version += 1;
    repo.targets.version += 1;
    repo.timestamp.version += 1;
    await repo.publish();
    for (const [path, bytes] of repo.source.files) {
      mkdirSync(dirname(join(data, "repository", path)), { recursive: true });
      writeFileSync(join(data, "repository", path), bytes);
    }
  };
  trust(director);
  await publish();
  const log: string[] = [];
  const start = (more: Partial<UpdateServerOptions> = {}): Promise<UpdateServer> =>
    startUpdateServer({
      data,
      listen: { host: "127.0.0.1", port: 0 },
      admin: { path: join(data, "admin.sock") },
      names: ["127.0.0.1"],
      director,
      version: "0.0.0",
      log: (_level, event) => void log.push(event),
      clock: systemClock,
      disk: systemDisk,
      random: systemRandom,
      tick: 3_600_000,
      ...more,
    });
  const ready = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath: join(data, "admin.sock"), path: "/readyz" }, (answer) => {
        let text = `${answer.statusCode} `;
        answer.on("data", (part: Buffer) => (text += part.toString()));
        answer.on("end", () => resolve(text.trim()));
      });
      asked.once("error", reject);
      asked.end();
    });
  const records = join(data, "server/upkeep.sqlite");
  return { data, director, repo, trust, publish, log, start, ready, records };
}

/** Starts, makes a token, stops: a fleet that has been in use. */
async function used() {
  const at = await place();
  await (await at.start()).stop();
  const store = await openFleetStore(at.records);
  const token = newToken(systemRandom, { caSpkiSha256: "0".repeat(64), rootSha256: "0".repeat(64) });
  await store.transaction((r) => addToken(r, Date.now(), { ...token, group: "default", life: DAY }));
  await store.close();
  return at;
}

const remove = (path: string): void =>
  ["", "-wal", "-shm"].forEach((end) => rmSync(`${path}${end}`, { force: true }));

describe("the fleet's records", () => {
  it("are begun at the first start, and there is no complaint at the second, even if nothing was done", async () => {
    const { start, ready } = await place();
    await (await start()).stop();
    const again = await start();
    assert.equal(await ready(), "200 ready");
    await again.stop();
  });

  it("that vanished are never begun anew without a word: the start is refused, and names the way back", async () => {
    const { start, records } = await used();
    remove(records);
    await assert.rejects(start(), { code: "fleet/store-missing", hint: /fleet import/ });
    assert.equal(existsSync(records), false, "nothing was put in their place");
    const anew = await start({ beginEmpty: true });
    await anew.stop();
    await (await start()).stop();
  });

  it("that are there and empty, while authorities are older, are refused as well", async () => {
    const { start, records } = await used();
    remove(records);
    writeFileSync(records, "");
    await assert.rejects(start(), { code: "fleet/store-missing" });
  });

  it("that are damaged in the middle are refused at the start", async () => {
    const { start, records } = await used();
    const { size } = statSync(records);
    const bytes = await systemDisk.read(records, 1 << 24);
    writeFileSync(records, bytes.fill(0xa5, 4096, size));
    await assert.rejects(start(), { code: "fleet/store-corrupt" });
  });

  it("that are taken away or replaced under a running server are said in readiness; nothing more is acknowledged", async () => {
    const { start, ready, records } = await used();
    const server = await start();
    const store = await openFleetStore(records);
    renameSync(records, `${records}.away`);
    await assert.rejects(
      store.transaction((r) => r.putSetting("x", "y")),
      { code: "fleet/store-missing" },
    );
    await assert.rejects(
      store.read((r) => r.setting("x")),
      { code: "fleet/store-missing" },
    );
    await store.close();
    assert.match(await ready(), /^503 The database .* was taken away while it was in use/);
    writeFileSync(records, "");
    assert.match(await ready(), /^503 The database .* was replaced by another file/);
    rmSync(records);
    renameSync(`${records}.away`, records);
    assert.equal(await ready(), "200 ready");
    await server.stop();
  });
});

describe("the director key of a server", () => {
  it("that the repository does not trust is said at the start and in readiness", async () => {
    const { start, ready, log } = await place();
    const server = await start({ director: newKey() });
    assert.ok(log.includes("server/director-not-trusted"));
    assert.match(await ready(), /^503 the repository does not trust this server's director key/);
    await server.stop();
  });

  it("that is taken from the repository's list while the server runs is said as well, and so is its return", async () => {
    const { start, ready, trust, publish, director, log } = await place();
    const server = await start();
    assert.equal(await ready(), "200 ready");
    trust(newKey());
    await publish();
    await server.refresh();
    assert.match(await ready(), /^503 the repository does not trust/);
    trust(director);
    await publish();
    await server.refresh();
    assert.equal(await ready(), "200 ready");
    assert.deepEqual(
      log.filter((event) => event.includes("director")),
      ["server/director-not-trusted", "server/director-trusted"],
    );
    await server.stop();
  });
});

describe("the clock of a server", () => {
  it("that was two years ahead on day 0 and is right on day 1 leaves it ready, with a certificate that is good today", async () => {
    const { start, ready, repo, publish, log } = await place();
    let ahead = 200 * DAY;
    const clock = { ...systemClock, now: () => Date.now() + ahead };
    repo.timestamp.expires = Date.now() + ahead + DAY;
    repo.snapshot.expires = Date.now() + ahead + 7 * DAY;
    await publish();
    const server = await start({ clock });
    assert.equal(await ready(), "200 ready");
    ahead = DAY;
    repo.timestamp.expires = Date.now() + ahead + DAY;
    repo.snapshot.expires = Date.now() + ahead + 7 * DAY;
    await publish();
    await server.refresh();
    assert.equal(await ready(), "200 ready");
    assert.ok(log.includes("repository/time-forgotten"));
    await server.stop();
  });

  it("whose repository is a copy from before what was served says which version was seen, and the way out", async () => {
    const { start, ready, repo, publish } = await place();
    for (let n = 0; n < 3; n++) await publish();
    await (await start()).stop();
    repo.timestamp.version = 1;
    await publish();
    const server = await start();
    assert.match(
      await ready(),
      /^503 the repository cannot be verified: .*version 5 was trusted.*repo recover/,
    );
    await server.stop();
  });
});
