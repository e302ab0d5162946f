// The agent as one executable: built, signed, checking itself at every start, and doing an agent's work with nothing else installed.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  openSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
  closeSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { certificatePem } from "../../src/der/x509.ts";
import { publisherPki, type Pki } from "../../src/testing/publisher-pki.ts";
import { Site, type Ran } from "./_agent.ts";

const skip =
  process.platform !== "linux"
    ? "the self-check is exercised on Linux"
    : existsSync("/usr/bin/strip")
      ? false
      : "strip is not installed";

describe("the agent's executable", { skip, timeout: 280_000 }, () => {
  let site: Site;
  let agent: string;
  let pki: Pki;
  const file = (name: string): string => join(site.folder, name);
  const run = (program: string, ...words: string[]): Ran => {
    const { status, signal, stdout, stderr } = spawnSync(program, ["--data", site.device, ...words], {
      encoding: "utf8",
      timeout: 60_000,
      // Nothing of this machine's: no PATH with a Node, no options for one.
      env: { PATH: "/usr/bin:/bin", NODE_OPTIONS: "--require=/nonexistent.cjs" },
    });
    return { status, signal, stdout, stderr };
  };

  before(async () => {
    site = await Site.create();
    pki = await publisherPki({ now: Date.now() });
    writeFileSync(
      file("chain.pem"),
      `${certificatePem(pki.leaf.certificate)}${certificatePem(pki.authority.certificate)}`,
    );
    writeFileSync(file("root.pem"), certificatePem(pki.root.certificate));
    writeFileSync(file("key.pem"), pki.leaf.privateKey.export({ type: "pkcs8", format: "pem" }), {
      mode: 0o600,
    });
    agent = file("upkeep-agent");
    const cert = ["--publisher-cert", file("chain.pem"), "--publisher-root", file("root.pem")];
    site.ok(site.upkeep(site.operator, "agent", "build", "--out", agent, ...cert));
  });
  after(() => site.remove());

  it("does not run before its publisher signed it", () => {
    const ran = run(agent, "--version");
    assert.equal(ran.status, 3);
    assert.match(ran.stderr, /agent\/image-refused/);
  });

  it("runs when it is signed, and takes no code from its environment", () => {
    const manifest = ["--product", "upkeep-agent", "--release-version", "0.1.0", "--release-number", "1"];
    site.ok(
      site.upkeep(
        site.operator,
        "sign",
        "--cert",
        file("chain.pem"),
        "--key",
        file("key.pem"),
        ...manifest,
        agent,
      ),
    );
    const ran = run(agent, "--version");
    assert.equal(ran.status, 0, ran.stderr);
    assert.equal(ran.stdout, "0.1.0\n");
  });

  it("does not run with one byte of it changed, wherever that is", () => {
    const changed = file("changed");
    const { size } = statSync(agent);
    for (const at of [size - 2_000_000, Math.floor(size / 2), size - 600]) {
      copyFileSync(agent, changed);
      chmodSync(changed, 0o755);
      const handle = openSync(changed, "r+");
      const byte = Buffer.alloc(1);
      readSync(handle, byte, 0, 1, at);
      writeSync(handle, Buffer.of(byte[0]! ^ 1), 0, 1, at);
      closeSync(handle);
      const ran = run(changed, "--version");
      // A byte that the machine needs to get as far as the check may end it sooner; it must not get past it.
      assert.notEqual(ran.status, 0, `byte ${at}`);
      assert.doesNotMatch(ran.stdout, /0\.1\.0/);
      if (at === size - 600) assert.match(ran.stderr, /agent\/image-refused/);
    }
  });

  it("enrols, installs and reports without any Node on the machine", async () => {
    await site.publish("1.0.0");
    await site.startServer();
    const token = JSON.parse(site.ok(site.upkeep(site.operator, "token", "new", "--json")).stdout) as {
      token: string;
    };
    writeFileSync(file("token"), `${token.token}\n`, { mode: 0o600 });
    site.ok(run(agent, "enroll", "--server", `127.0.0.1:${site.serverPort}`, "--token-file", file("token")));
    const updated = run(agent, "update", "--json");
    assert.equal(updated.status, 0, updated.stderr + updated.stdout);
    await site.until("1.0.0");
    assert.deepEqual(
      site.attempts().map((report) => report["outcome"]),
      ["success"],
    );
  });
});
