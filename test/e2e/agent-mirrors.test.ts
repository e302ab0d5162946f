// Copies of the repository that the owner of a device named: they spare the server, and none of them is believed.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { chmodSync, cpSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, freePort, Site, type Json } from "./_agent.ts";

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
    const names = readdirSync(folder).filter((name) => name.endsWith(".tar"));
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
    assert.equal(refused.status, 2, `${refused.stdout}${refused.stderr}`);
    assert.match(refused.stdout + refused.stderr, /untrustedHttp = true/);
    settings(`${mirrors}untrustedHttp = true\n`);
    site.publish("1.2.0");
    const ran = site.updateTo("1.2.0");
    assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
    assert.deepEqual(notices(), ["repository/mirror-failed"]);
  });
});

/** Any web server: files of a folder, and nothing that knows what they are. */
const STATIC = `
const [folder, port] = process.argv.slice(1);
require("node:http").createServer((request, response) => {
  require("node:fs").readFile(folder + decodeURIComponent(request.url), (error, bytes) => {
    response.writeHead(error === null ? 200 : 404).end(bytes);
  });
}).listen(Number(port), "127.0.0.1");
`;

describe("a device whose update server is away", { timeout: 180_000 }, () => {
  let site: Site;
  let mirror: ChildProcess;
  let address: string;
  before(async () => {
    site = await Site.create();
    const port = await freePort();
    address = `http://127.0.0.1:${port}/`;
    mirror = spawn(process.execPath, ["-e", STATIC, join(site.operator, "repository"), String(port)]);
    await eventually("the mirror answers", async () =>
      fetch(address).then(
        () => true,
        () => null,
      ),
    );
    await site.startServer();
    site.enroll();
    site.publish("1.0.0");
    site.ok(site.updateTo("1.0.0"));
    await site.until("1.0.0");
    await site.stopServer();
  });
  after(async () => {
    mirror.kill("SIGKILL");
    await site.remove();
  });

  it("says so, and does not update, while no mirror is named", () => {
    site.publish("1.1.0");
    const ran = site.update();
    assert.equal(ran.status, 5);
    assert.match(ran.stdout, /mirror\/unreachable/);
    assert.match(ran.stdout, /nothing listens there/);
  });

  it("updates from a plain web server with a copy of the repository, and reports when the server is back", async () => {
    writeFileSync(
      join(site.device, "agent.toml"),
      `mirrors = ["${address}"]\nuntrustedHttp = true\nstartSpread = 0\n`,
    );
    const ran = site.update();
    assert.equal(ran.status, 5, "that the server is away is said");
    assert.match(ran.stdout, /"result":"updated"/);
    assert.match(ran.stdout, /server\/unreachable/);
    await site.until("1.1.0");
    await site.serve();
    site.ok(site.update());
    const report = site.attempts().at(-1)!;
    assert.deepEqual([report["to"], report["outcome"], report["source"]], ["1.1.0", "success", "mirror"]);
    await site.stopServer();
  });

  it("does so by itself while its agent runs", async () => {
    site.publish("1.2.0");
    site.startAgent();
    await site.until("1.2.0");
    await site.stopAgent();
  });

  it("takes from the address of a mirror what its owner asks for, without settings that name it", async () => {
    writeFileSync(join(site.device, "agent.toml"), "untrustedHttp = true\n");
    site.publish("1.3.0");
    const words = ["agent", "update", "--json", "--from"];
    const ran = site.ok(site.upkeep(site.device, ...words, address));
    assert.match(ran.stdout, /"result":"updated"/);
    await site.until("1.3.0");
    const gone = site.upkeep(site.device, ...words, "http://127.0.0.1:1/");
    assert.equal(gone.status, 5);
    assert.match(gone.stdout, /nothing listens there/);
    writeFileSync(join(site.device, "agent.toml"), "");
    const clear = site.upkeep(site.device, ...words, address);
    assert.match(clear.stdout + clear.stderr, /agent\/bad-settings/);
  });

  it("stays where it was assigned by its version", async () => {
    await site.serve();
    const pin = ["fleet", "assign", "default", "shop", "stable", "--stay-at", "1.3.0"];
    site.ok(site.upkeep(site.operator, ...pin));
    await eventually("it is pinned", () => (site.update().status === 0 ? true : null));
    await site.stopServer();
    site.publish("1.4.0");
    writeFileSync(join(site.device, "agent.toml"), `mirrors = ["${address}"]\nuntrustedHttp = true\n`);
    const ran = site.update();
    assert.equal(ran.status, 5);
    await site.until("1.3.0");
    site.ok(site.upkeep(site.operator, ...pin.slice(0, 5)));
  });

  it("finds its server at another address that it knows", async () => {
    const old = site.serverPort;
    site.serverPort = await freePort();
    await site.serve();
    writeFileSync(join(site.device, "agent.toml"), `servers = ["127.0.0.1:${site.serverPort}"]\n`);
    const ran = site.updateTo("1.4.0");
    assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
    await site.until("1.4.0");
    assert.notEqual(site.serverPort, old);
  });
});
