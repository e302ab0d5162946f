// Page hashes of a program of 200 MiB through the signing service as programs: what travels, and what others compute.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import { needs, SigningWorld } from "./_signing.ts";

let world: SigningWorld;
before(async () => {
  world = await SigningWorld.start();
});
after(() => world?.close());

const MIB = 1024 * 1024;

describe("a large file at the signing service", needs("osslsigncode"), () => {
  it("of 200 MiB has its page hashes signed, through a gateway with default limits, and osslsigncode computes the same", async () => {
    world.put("driver.sys", tinyPe({ sections: [120 * MIB, 80 * MIB] }));
    const at = ["--identity", world.identity, "--cert", "release", "--page-hashes"];
    const ran = await world.upkeep(["--json", "service", "sign", "driver.sys", ...at]);
    assert.equal(ran.code, 0, ran.stdout + ran.stderr);
    const { traffic } = JSON.parse(ran.stdout.trim().split("\n").at(-1)!) as { traffic: number };
    // 36 bytes a page of 4 KiB, in base64, and what the sessions cost.
    assert.ok(traffic > 2 * MIB && traffic < 4 * MIB, String(traffic));
    await world.ok(["verify", "--root", "root.pem", "driver.sys"]);
    assert.match(
      await world.ok(["verify", "--receipt", "driver.sys.receipt", "driver.sys"]),
      /for this file/,
    );
    const said = await world.run("osslsigncode", "verify", "-CAfile", "root.pem", "-in", "driver.sys");
    assert.match(said, /Signature verification: ok/);
    const pages = /Page hash\s*: ([0-9A-F]+)[^]*Calculated page hash\s*: ([0-9A-F]+)/.exec(said);
    assert.ok(pages !== null && pages[1] === pages[2], said.slice(0, 2000));
  });
});
