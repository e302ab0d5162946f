// Copies of the repository that the owner of a device named: they spare the server, and none of them is believed.

import assert from "node:assert/strict";
import { chmodSync, cpSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Site, type Json } from "./_agent.ts";

describe("an agent with mirrors", { timeout: 120_000 }, () => {
  let site: Site;
  let usb: string;
  before(async () => {
    site = await Site.create();
    usb = join(site.folder, "usb");
    await site.startServer();
    site.enroll();
  });
  after(() => site.remove());

  const settings = (text: string): void => writeFileSync(join(site.device, "agent.toml"), text);
  const notices = (): readonly unknown[] =>
    (site.status()["notices"] as readonly Json[]).map(({ code }) => code);
  /** Every copy of the artifact in a repository folder gets other bytes. */
  const spoil = (repository: string, version: string): void => {
    const folder = join(repository, `targets/products/shop/${version}`);
    const names = readdirSync(folder).filter((name) => name.endsWith(".tar.gz"));
    assert.ok(names.length > 0);
    for (const name of names) writeFileSync(join(folder, name), "something else");
  };

  it("takes from the folder what the server has only damaged", async () => {
    site.publish("1.0.0");
    site.ok(site.upkeep(site.operator, "repo", "export", usb));
    spoil(join(site.operator, "repository"), "1.0.0");
    settings(`mirrors = [${JSON.stringify(usb)}]\n`);
    const ran = site.updateTo("1.0.0");
    assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
    await site.until("1.0.0");
    assert.deepEqual(notices(), []);
    assert.equal(site.attempts().at(-1)?.["source"], "mirror");
  });

  it("takes from the server what the mirrors do not have or have damaged, and names them", async () => {
    site.publish("1.1.0");
    settings(`mirrors = [${JSON.stringify(usb)}, "/nowhere/at/all"]\n`);
    const ran = site.updateTo("1.1.0");
    assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
    await site.until("1.1.0");
    assert.deepEqual(notices(), ["repository/mirror-stale", "repository/mirror-failed"]);
    assert.equal(site.attempts().at(-1)?.["source"], "origin");
    assert.match(site.upkeep(site.device, "agent", "status").stdout, /Notice: The mirror \/nowhere\/at\/all/);
  });

  it("repairs what was damaged from a folder, without the server", async () => {
    const copy = join(site.folder, "copy");
    cpSync(join(site.operator, "repository"), copy, { recursive: true });
    settings(`mirrors = [${JSON.stringify(copy)}]\n`);
    const program = join(site.device, "components/shop/current/bin/shop");
    const [pid] = site.services();
    chmodSync(program, 0o777);
    await site.stopServer();
    const ran = site.update();
    assert.equal(ran.status, 5, "the server is away, which is said");
    assert.deepEqual(site.services(), [pid], "what runs was not looked at, and not stopped");
    process.kill(pid!, "SIGKILL");
    const again = site.update();
    assert.match(again.stdout, /"result":"repaired"/);
    await site.until("1.1.0");
    await site.serve();
    site.ok(site.update());
    const report = site.attempts().at(-1)!;
    assert.deepEqual(
      [report["step"], report["source"], report["from"], report["to"]],
      ["repaired", "mirror", "1.1.0", "1.1.0"],
    );
  });

  it("asks in the clear only when it is told to, and does without when nothing answers", async () => {
    const mirrors = `mirrors = ["http://127.0.0.1:9/r"]\n`;
    settings(mirrors);
    const refused = site.update();
    assert.equal(refused.status, 1, `${refused.stdout}${refused.stderr}`);
    assert.match(refused.stdout + refused.stderr, /untrustedHttp = true/);
    settings(`${mirrors}untrustedHttp = true\n`);
    site.publish("1.2.0");
    const ran = site.updateTo("1.2.0");
    assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
    assert.deepEqual(notices(), ["repository/mirror-failed"]);
  });
});
