// A device without a network: a bundle or a folder that somebody brought, a mirror that any web server is, and what is refused.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Site, type Json, type Ran } from "./_agent.ts";

describe("an update that somebody brings", () => {
  let site: Site;
  before(async () => {
    site = await Site.create();
    site.publish("1.0.0");
    await site.startServer();
    site.enroll();
    await site.stopServer();
  });
  after(() => site.remove());

  const bundle = (name: string): string => {
    const file = join(site.folder, name);
    site.ok(site.upkeep(site.operator, "repo", "bundle", file));
    return file;
  };
  const from = (path: string, ...more: string[]): Ran =>
    site.upkeep(site.device, "agent", "update", "--json", "--from", path, ...more);
  const failure = (ran: Ran): Json =>
    ran.stdout === ""
      ? ((JSON.parse(ran.stderr) as Json)["error"] as Json)
      : ((JSON.parse(ran.stdout) as Json)["failure"] as Json);
  const current = (): string => readlinkSync(join(site.device, "components/shop/current"));

  it("says before anything ran that the device is enrolled and no agent runs", () => {
    const { stdout } = site.ok(site.upkeep(site.device, "agent", "status"));
    assert.match(stdout, /enrolled, and no agent has run yet/);
  });

  it("is installed from a bundle without any server, and later from a folder", async () => {
    const file = bundle("first.bundle");
    assert.equal(from(file).status, 2, "nothing is installed yet, so that a product has to be named");
    site.ok(from(file, "--product", "shop"));
    await site.until("1.0.0");
    site.publish("1.1.0");
    const folder = join(site.folder, "stick");
    site.ok(site.upkeep(site.operator, "repo", "export", folder));
    site.ok(from(folder));
    await site.until("1.1.0");
  });

  it("is refused when one byte was changed or the bundle is an old one (rollback attack), and what runs stays", async () => {
    const old = bundle("old.bundle");
    site.publish("1.2.0");
    const file = bundle("new.bundle");
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1]! ^= 1;
    const changed = join(site.folder, "changed.bundle");
    writeFileSync(changed, bytes);
    const refused = from(changed);
    assert.equal(refused.status, 3, refused.stdout + refused.stderr);
    assert.equal(failure(refused)["code"], "mirror/wrong-content");
    assert.match(current(), /1\.1\.0/);
    site.ok(from(file));
    await site.until("1.2.0");
    const back = from(old);
    assert.equal(back.status, 3, back.stdout + back.stderr);
    assert.equal(failure(back)["code"], "repository/rollback");
    assert.match(current(), /1\.2\.0/);
  });

  it("is refused when a folder's artifact was exchanged, with a report that the server gets later", async () => {
    site.publish("1.3.0");
    const folder = join(site.folder, "forged");
    site.ok(site.upkeep(site.operator, "repo", "export", folder));
    const list = join(folder, "targets/products/shop/1.3.0");
    const artifact = readdirSync(list).find((name) => name.endsWith(".tar"))!;
    const bytes = readFileSync(join(list, artifact));
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(join(list, artifact), bytes);
    const refused = from(folder);
    assert.equal(refused.status, 3, refused.stdout + refused.stderr);
    assert.match(refused.stdout, /mirror\/wrong-content/);
    assert.match(current(), /1\.2\.0/);
    await site.serve();
    assert.equal(site.update().status, 0);
    await site.until("1.3.0");
    assert.deepEqual(
      site.attempts().map((attempt) => [attempt["to"], attempt["outcome"], attempt["source"]]),
      [
        ["1.0.0", "success", "bundle"],
        ["1.1.0", "success", "bundle"],
        ["1.2.0", "success", "bundle"],
        ["1.3.0", "refused", "none"],
        ["1.3.0", "success", "origin"],
      ],
    );
  });

  it("comes from any web server that agent.toml names as a mirror when the server has lost its files", async () => {
    site.publish("1.4.0");
    const folder = join(site.folder, "mirror");
    site.ok(site.upkeep(site.operator, "repo", "export", folder));
    const files = join(site.operator, "repository/targets/products/shop/1.4.0");
    // A process of its own: this one is busy waiting for the agent.
    const web = spawn(process.execPath, ["-e", WEB, folder], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const [line] = (await once(web.stdout, "data")) as [Buffer];
      writeFileSync(
        join(site.device, "agent.toml"),
        `untrustedHttp = true\nmirrors = ["http://127.0.0.1:${Number(line.toString())}/"]\n`,
      );
      // The server answers, and has nothing to offer any more.
      renameSync(files, join(site.folder, "lost"));
      assert.equal(site.updateTo("1.4.0").status, 0);
      await site.until("1.4.0");
      renameSync(join(site.folder, "lost"), files);
    } finally {
      web.kill("SIGKILL");
    }
  });

  it("is told plainly when agent.toml or the identity was damaged", () => {
    writeFileSync(join(site.device, "agent.toml"), 'mirrors = ["ftp://x"]\n');
    const settings = site.upkeep(site.device, "agent", "update", "--json");
    assert.equal(failure(settings)["code"], "agent/bad-settings");
    assert.match(String(failure(settings)["message"]), /agent\.toml/);
    writeFileSync(join(site.device, "agent.toml"), "");
    for (const name of ["identity.json", "authorities.pem", "report.key"]) {
      const path = join(site.device, "identity", name);
      const bytes = readFileSync(path);
      const bad = Buffer.from(bytes);
      // In the record, a byte of its form: what it pins is checked against the authorities, with a code of its own.
      bad[name === "identity.json" ? 0 : bad.length >> 1]! ^= 1;
      writeFileSync(path, bad);
      const ran = site.upkeep(site.device, "agent", "update", "--json");
      assert.equal(failure(ran)["code"], "agent/damaged-identity", name);
      assert.ok(String(failure(ran)["message"]).includes(name));
      writeFileSync(path, bytes);
    }
    assert.equal(site.upkeep(site.device, "agent", "update").status, 0);
  });
});

/** Any web server. */
const WEB = `
const web = require("node:http").createServer((request, answer) => {
  try {
    answer.end(require("node:fs").readFileSync(process.argv[1] + decodeURIComponent(request.url)));
  } catch {
    answer.writeHead(404).end();
  }
});
web.listen(0, "127.0.0.1", () => console.log(web.address().port));
`;
