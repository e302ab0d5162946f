// What is installed on a real device is changed behind the agent's back: it never runs, is told, and is put back.

import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, Site, type Json } from "./_agent.ts";

let site: Site;
let shop = "";
let marker = "";

/** What an intruder would like to run: it leaves a mark, and then does as the real one. */
const intruder = (program: string): string =>
  program.replace("\n", `\nrequire("node:fs").writeFileSync(${JSON.stringify(marker)}, "ran");\n`);

function edit(path: string, change: (bytes: Buffer) => string | Buffer): void {
  const { mode, atime, mtime } = statSync(path);
  const bytes = readFileSync(path);
  chmodSync(path, 0o755);
  writeFileSync(path, change(bytes));
  // As careful intruders do.
  chmodSync(path, mode);
  utimesSync(path, atime, mtime);
}

const slot = (): string => join(shop, readlinkSync(join(shop, "current")));

const HARMS: { readonly [name: string]: () => void } = {
  "a flipped byte": () =>
    edit(join(slot(), "bin/shop"), (bytes) => {
      bytes[bytes.length - 3]! ^= 1;
      return bytes;
    }),
  "a changed program": () => edit(join(slot(), "bin/shop"), (bytes) => intruder(bytes.toString())),
  "a removed file": () => rmSync(join(slot(), "bin/shop")),
  "a changed mode": () => chmodSync(join(slot(), "bin/shop"), 0o777),
  "a link put in its place": () => {
    const copy = join(site.folder, "intruder");
    writeFileSync(copy, intruder(readFileSync(join(slot(), "bin/shop"), "utf8")));
    chmodSync(copy, 0o755);
    rmSync(join(slot(), "bin/shop"));
    symlinkSync(copy, join(slot(), "bin/shop"));
  },
  "a link in place of the slot": () => {
    const elsewhere = join(site.folder, "moved-slot");
    rmSync(elsewhere, { recursive: true, force: true });
    renameSync(slot(), elsewhere);
    edit(join(elsewhere, "bin/shop"), (bytes) => intruder(bytes.toString()));
    symlinkSync(elsewhere, slot());
  },
};

const last = (): Json => site.attempts().at(-1)!;
const component = (): Json => (site.status()["components"] as readonly Json[])[0]!;

const settled = (): true | null =>
  component()["attempt"] === null && component()["damage"] === null ? true : null;

before(async () => {
  site = await Site.create();
  shop = join(site.device, "components/shop");
  marker = join(site.folder, "intruder-ran");
  site.publish("1.0.0");
  await site.startServer();
  site.enroll();
  site.ok(site.update());
  site.publish("1.1.0");
  site.ok(site.updateTo("1.1.0"));
  await site.until("1.1.0");
  writeFileSync(join(shop, "data/orders"), "three");
  site.startAgent();
  await eventually("the agent is connected", () =>
    existsSync(join(site.device, "control.sock")) && site.status()["wakeUps"] === "connected" ? true : null,
  );
});
after(() => site.remove());

describe("what was changed while the agent was down", () => {
  for (const [name, harm] of Object.entries(HARMS)) {
    it(`${name}: does not run, and is repaired by itself`, async () => {
      const reports = site.attempts().length;
      await site.stopAgent();
      assert.equal(await site.ask(), null);
      harm();
      site.startAgent();
      await site.until("1.1.0");
      await eventually("the report", () => (site.attempts().length > reports ? true : null));
      const { from, to, outcome, step, running, source } = last();
      assert.deepEqual(
        [from, to, outcome, step, running, source],
        ["1.1.0", "1.1.0", "success", "repaired", "1.1.0", "origin"],
      );
      assert.equal(existsSync(marker), false, "the intruder's program ran");
      assert.equal(site.services().length, 1);
      assert.match(slot(), /-r\d+$/);
      assert.equal(readFileSync(join(shop, "data/orders"), "utf8"), "three");
      const check = site.upkeep(site.device, "agent", "check", "--json");
      assert.equal(check.status, 0, check.stdout);
    });
  }

  it("is not needed for what was added: that is put aside before the start", async () => {
    await site.stopAgent();
    const reports = site.attempts().length;
    writeFileSync(join(slot(), "bin/more.js"), "x");
    site.startAgent();
    await site.until("1.1.0");
    assert.equal(existsSync(join(slot(), "bin/more.js")), false);
    assert.equal(readFileSync(join(shop, "aside/0"), "utf8"), "x");
    assert.equal(site.attempts().length, reports);
  });

  it("is shown to the operator of the fleet", () => {
    const list = site.ok(site.upkeep(site.operator, "report", "list", "--outcome", "repaired")).stdout;
    assert.equal([...list.matchAll(/shop 1\.1\.0: repaired$/gm)].length, Object.keys(HARMS).length);
    assert.match(site.ok(site.upkeep(site.operator, "fleet", "alarms")).stdout, /slot\/damaged/);
  });

  it("gives way to the version before while the network is away, and comes back with it", async () => {
    await site.stopAgent();
    await site.stopServer();
    HARMS["a changed program"]!();
    site.startAgent();
    await site.until("1.0.0");
    await eventually("the agent says why", () =>
      String(component()["why"]).includes("last good version") ? true : null,
    );
    assert.equal(component()["floor"], null);
    await site.serve();
    await site.until("1.1.0");
    assert.equal(existsSync(marker), false, "the intruder's program ran");
    assert.equal(readFileSync(join(shop, "data/orders"), "utf8"), "three");
  });

  it("stays down and says so when there is neither network nor a version before, until there is", async () => {
    site.publish("1.2.0", "", ["--floor", "1.2.0"]);
    site.updateTo("1.2.0");
    await site.until("1.2.0");
    await site.stopAgent();
    await site.stopServer();
    HARMS["a changed program"]!();
    site.startAgent();
    await eventually("the agent says why", () =>
      existsSync(join(site.device, "control.sock")) &&
      String(component()["why"]).includes("could not be repaired yet")
        ? true
        : null,
    );
    assert.equal(await site.ask(), null);
    assert.match(String(component()["damage"]), /bin\/shop has /);
    assert.deepEqual(site.services(), []);
    await site.serve();
    await site.until("1.2.0");
    await eventually("the repair is committed", settled);
    assert.equal(existsSync(marker), false, "the intruder's program ran");
  });
});

describe("what was changed while it runs", () => {
  it("is found by a check, not stopped by it, and replaced when somebody asks for an update", async () => {
    const [pid] = site.services();
    HARMS["a changed program"]!();
    const found = site.upkeep(site.device, "agent", "check");
    assert.equal(found.status, 6, found.stderr);
    assert.match(found.stdout, /shop 1\.2\.0: damaged\. The slot .* bin\/shop has /);
    await eventually("the replacement is ready", () =>
      String(component()["why"]).includes("is ready") ? true : null,
    );
    assert.deepEqual(site.services(), [pid]);
    const ran = site.update();
    assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
    assert.match(ran.stdout, /"result":"repaired"/);
    await eventually("the repair is committed", settled);
    assert.notDeepEqual(site.services(), [pid]);
    assert.equal(existsSync(marker), false, "the intruder's program ran");
  });

  it("is replaced when the program ends", async () => {
    const [pid] = site.services();
    HARMS["a changed program"]!();
    assert.equal(site.upkeep(site.device, "agent", "check").status, 6);
    process.kill(pid!, "SIGKILL");
    await eventually("another process", () => {
      const [now] = site.services();
      return now !== undefined && now !== pid ? true : null;
    });
    await eventually("the repair is committed", settled);
    await site.until("1.2.0");
    assert.equal(existsSync(marker), false, "the intruder's program ran");
    assert.equal(site.upkeep(site.device, "agent", "check").status, 0);
  });
});
