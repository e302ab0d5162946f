// What an application gets of its license: from files and a socket that stand for the agent, with the vendor's documents in them.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { after, before, describe, it } from "node:test";
import { toHex } from "../core/bytes.ts";
import { DAY } from "../core/instant.ts";
import { revokeLicense } from "../fleet/licenses/books.ts";
import { listenForLicenses } from "../io/device/license-socket.ts";
import { LicenseWorld, type LicenseDevice } from "../testing/license-world.ts";
import { License, openFeatureProvider, type LicenseStatus } from "./license.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-license-door-"));
after(() => rmSync(folder, { recursive: true }));
let world: LicenseWorld;
let count = 0;
before(async () => {
  world = await LicenseWorld.open(join(folder, "vendor.sqlite"));
  // The application reads the real clock.
  world.now = Math.floor(Date.now() / 1000) * 1000;
});
after(() => world.store.close());

/** The agent's folder on a real disk, and its socket while it is said to run. */
class Place {
  readonly path = join(folder, `place-${++count}`);
  #socket: { close(): Promise<void> } | null = null;

  async hold(device: LicenseDevice): Promise<this> {
    mkdirSync(this.path, { recursive: true });
    for (const name of ["trust.json", "shop.license.json"])
      writeFileSync(join(this.path, name), await device.disk.read(`/agent/licenses/${name}`, 1 << 24));
    return this;
  }

  async listen(device: LicenseDevice): Promise<this> {
    this.#socket = await listenForLicenses(this.path, async ({ path, body }) =>
      path[1] === "prove"
        ? device.keeper.prove(path[0]!, (body as { nonce: string }).nonce)
        : { counted: true },
    );
    return this;
  }

  async stop(): Promise<void> {
    await this.#socket?.close();
    this.#socket = null;
  }
}

async function licensed(sale: Parameters<LicenseWorld["sell"]>[0] = {}) {
  const sold = await world.sell(sale);
  const device = await world.device();
  await device.activate(sold.claim);
  const place = await (await new Place().hold(device)).listen(device);
  return { ...sold, device, place };
}

const trustedRoot = (): Uint8Array => world.repository.rootBytes(1);
const opened: License[] = [];
async function open(place: Place, product = "shop"): Promise<License> {
  const license = await License.open({
    product,
    trustedRoot: trustedRoot(),
    folder: place.path,
    lookEvery: 1e6,
  });
  opened.push(license);
  return license;
}
after(() => {
  for (const license of opened) license.close();
});

describe("an application", () => {
  it("has what the lease grants, and is told why and until when", async () => {
    const { place, device } = await licensed();
    const license = await open(place);
    assert.deepEqual(
      [license.has("sso"), license.limit("nodes", 1), license.limit("users", 7)],
      [true, 50, 7],
    );
    const { value, amount, reason, conclusive, until } = license.evaluate("nodes");
    assert.deepEqual([value, amount, reason, conclusive], [true, 50, "LEASE", true]);
    assert.equal(until, (await device.status()).lease);
    assert.deepEqual([license.status().seat, license.status().degraded], [{ slot: 1, of: 1 }, false]);
    await place.stop();
  });

  it("hears of a change without a restart, in both directions", async () => {
    const { place, device, license: sold } = await licensed();
    const license = await open(place);
    const heard: LicenseStatus["reason"][] = [];
    const quiet = license.on("change", ({ reason }) => void heard.push(reason));
    const by = { actor: "operator:test", now: world.now };
    await world.write((r) => revokeLicense(r, by, sold.id, { at: world.now, reason: "not paid" }));
    device.keeper.eager = true;
    await device.checkIn();
    await place.hold(device);
    await license.refresh();
    assert.deepEqual(
      [license.has("sso"), license.limit("nodes", 1), license.status().reason],
      [false, 3, "REVOKED"],
    );
    const row = (await world.store.read((r) => r.license(sold.id)))!;
    await world.write((r) => r.putLicense({ ...row, revokedAt: null }));
    await device.checkIn();
    await place.hold(device);
    await license.refresh();
    await license.refresh();
    assert.deepEqual([license.has("sso"), heard], [true, ["REVOKED", "LEASE"]]);
    quiet();
    await place.stop();
  });

  it("beside which the license of another device was put has the fallback (copied license)", async () => {
    const { device, place } = await licensed();
    await place.stop();
    const other = await world.device();
    await (await place.hold(device)).listen(other);
    const license = await open(place);
    assert.deepEqual(
      [license.has("sso"), license.limit("nodes", 1), license.status().reason],
      [false, 3, "KEY_MISMATCH"],
    );
    await place.stop();
  });

  it("without an agent has the fallback, for a reason that is not certain, and the rest when the agent is there", async () => {
    const { device, place } = await licensed();
    await place.stop();
    const license = await open(place);
    assert.deepEqual(
      [license.has("sso"), license.status().reason, license.status().conclusive],
      [false, "NO_AGENT", false],
    );
    await place.listen(device);
    await license.refresh();
    assert.equal(license.has("sso"), true);
    await place.stop();
    await license.refresh();
    assert.equal(license.has("sso"), true, "an agent that restarts takes nothing away");
  });

  it("of another product gets nothing from it", async () => {
    const { place } = await licensed();
    const bytes = readFileSync(join(place.path, "shop.license.json"));
    writeFileSync(join(place.path, "till.license.json"), bytes);
    const license = await open(place, "till");
    assert.deepEqual(
      [license.has("sso"), license.status().features, license.status().reason],
      [false, {}, "INTERNAL"],
    );
    await place.stop();
  });

  it("never trusts issuers that were put beside it: only those below its own root", async () => {
    const { place } = await licensed();
    const rogue = await LicenseWorld.open(join(folder, `rogue-${++count}.sqlite`));
    const sold = await rogue.sell();
    const device = await rogue.device();
    await device.activate(sold.claim);
    await place.hold(device);
    const license = await open(place);
    assert.deepEqual([license.has("sso"), license.status().reason], [false, "INTERNAL"]);
    await rogue.store.close();
    await place.stop();
  });

  it("starts without a license, and with files that are damaged", async () => {
    const { place } = await licensed();
    for (const text of ["", "{", '{"format":1}', "null", "\0\0"]) {
      writeFileSync(join(place.path, "shop.license.json"), text);
      const license = await open(place);
      assert.equal(license.has("sso"), false);
    }
    rmSync(join(place.path, "shop.license.json"));
    assert.equal((await open(place)).status().reason, "NO_LICENSE");
    const nowhere = await License.open({
      product: "shop",
      trustedRoot: trustedRoot(),
      folder: join(folder, "nowhere"),
    });
    assert.deepEqual([nowhere.has("sso"), nowhere.status().reason], [false, "NO_LICENSE"]);
    nowhere.close();
    await place.stop();
  });

  it("whose trial is over goes on with the fallback", async () => {
    const {
      place,
      device,
      license: sold,
    } = await licensed({ kind: "trial", trialDays: 1, seats: { model: "site", max: 100 } });
    assert.equal((await open(place)).has("sso"), true);
    await world.write(async (r) => {
      const [activation] = await r.activations(sold.id);
      assert.ok(activation !== undefined);
    });
    const held = device.world;
    held.pass(-2 * DAY);
    const early = await world.sell({ kind: "trial", trialDays: 1, seats: { model: "site", max: 100 } });
    const old = await world.device();
    await old.activate(early.claim);
    held.pass(2 * DAY);
    await place.stop();
    await (await place.hold(old)).listen(old);
    const license = await open(place);
    assert.deepEqual(
      [license.status().reason, license.has("sso"), license.limit("nodes", 1)],
      ["EXPIRED", false, 3],
    );
    await place.stop();
  });

  it("is answered from memory: a million questions take less than a microsecond each", async () => {
    const { place } = await licensed();
    const license = await open(place);
    await place.stop();
    rmSync(place.path, { recursive: true });
    const begin = performance.now();
    for (let at = 0; at < 1_000_000; at++) license.has(at % 2 === 0 ? "sso" : "nodes");
    const each = (performance.now() - begin) / 1_000_000;
    assert.ok(each < 0.001, `${each * 1000} µs`);
  });

  it("that knows OpenFeature asks through its provider", async () => {
    const { place } = await licensed();
    const provider = openFeatureProvider(await open(place));
    const sso = await provider.resolveBooleanEvaluation("sso", false);
    assert.deepEqual([sso.value, sso.reason, sso.variant], [true, "CACHED", "LEASE"]);
    const audit = await provider.resolveBooleanEvaluation("audit", true);
    assert.deepEqual([audit.value, audit.reason, audit.variant], [false, "DISABLED", "NOT_GRANTED"]);
    assert.deepEqual((await provider.resolveNumberEvaluation("nodes", 1)).value, 50);
    assert.deepEqual((await provider.resolveNumberEvaluation("users", 7)).value, 7);
    assert.equal((await provider.resolveStringEvaluation("sso", "x")).errorCode, "TYPE_MISMATCH");
    await place.stop();
  });
});

const PYTHON = new URL("../../examples/verify-lease/verify_lease.py", import.meta.url).pathname;
const noPython =
  spawnSync("python3", ["-c", "import cryptography"]).status !== 0 && "python3-cryptography is not installed";

describe("the verifier in Python", { skip: noPython }, () => {
  it("comes to the same features, and refuses what was changed or is another product's", async () => {
    const { place } = await licensed();
    const raw = (key: { readonly spki: Uint8Array }): string => toHex(key.spki.subarray(-32));
    const keys = [...world.issuers, ...world.leaseKeys].map(({ publicKey }) => raw(publicKey));
    const input = readFileSync(join(place.path, "shop.license.json"), "utf8");
    const run = (product: string, text: string): string =>
      execFileSync("python3", [PYTHON, product, ...keys], { input: text, encoding: "utf8", stdio: "pipe" });
    assert.deepEqual(JSON.parse(run("shop", input)), { sso: true, nodes: 50 });
    assert.throws(() => run("till", input), /another product/);
    const file = JSON.parse(input) as { license: string; lease: string };
    assert.throws(() => run("shop", JSON.stringify({ ...file, lease: file.license })), /this is no lease/);
    await place.stop();
  });
});
