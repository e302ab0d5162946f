// Updates of a real native program and of a folder through patches, with the real command line, server and agent.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { nativePair } from "../../src/apps/cli/demo/native-pair.ts";
import { sha256Hex } from "../../src/core/digest.ts";
import { Site, type Json } from "./_agent.ts";

const pair = nativePair();
const skip = pair === null ? "the builds of a native program are made for Linux on x64" : false;

describe("an agent of devices that have an earlier release", { timeout: 170_000, skip }, () => {
  let site: Site;
  before(async () => {
    site = await Site.create();
    for (const product of ["tool", "pages"])
      site.ok(site.upkeep(site.operator, "fleet", "assign", "default", product, "stable"));
    await site.startServer();
    site.enroll();
  });
  after(() => site.remove());

  const publish = (product: string, version: string, path: string, ...options: string[]): string =>
    site.ok(
      site.upkeep(
        site.operator,
        "release",
        "add",
        product,
        version,
        path,
        "--data-only",
        "--promote",
        ...options,
      ),
    ).stderr;
  const report = (product: string): Json => site.attempts().findLast((one) => one["product"] === product)!;
  const patchesOf = (product: string, version: string): readonly string[] => {
    const folder = join(site.operator, `repository/targets/products/${product}/${version}`);
    return readdirSync(folder)
      .filter((name) => name.endsWith(".hd1"))
      .map((name) => join(folder, name));
  };
  const update = (version: string): void => {
    const ran = site.updateTo(version);
    assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
  };

  it("brings a native program by a patch of a few percent of it", () => {
    const [old, next] = pair!;
    publish("tool", "1.0.0", old!.file);
    update("1.0.0");
    assert.equal(report("tool")["bytesBy"], undefined, "the first one comes whole");
    publish("tool", "1.1.0", next!.file);
    update("1.1.0");
    const [patch] = patchesOf("tool", "1.1.0");
    const { size } = statSync(patch!);
    assert.ok(size < statSync(next!.file).size / 10, `${size} bytes`);
    assert.deepEqual(report("tool")["bytesBy"], { patch: size, own: statSync(next!.file).size - size });
    const installed = readFileSync(join(site.device, "components/tool/current/tool"));
    assert.equal(sha256Hex(installed), sha256Hex(readFileSync(next!.file)));
    assert.match(
      site.upkeep(site.device, "agent", "status").stdout,
      /tool: The last release came .* as patches, /,
    );
  });

  it("brings a folder by a patch of its tar, which it makes again from what is installed", () => {
    const folder = join(site.folder, "pages");
    mkdirSync(join(folder, "a/b"), { recursive: true });
    for (let i = 0; i < 300; i++)
      writeFileSync(join(folder, "a/b", `page-${i}`), `page ${i}\n`.repeat(50 + i));
    publish("pages", "1.0.0", folder);
    update("1.0.0");
    writeFileSync(join(folder, "a/b/page-7"), "changed\n");
    writeFileSync(join(folder, "a-new"), "new\n");
    publish("pages", "1.1.0", folder);
    update("1.1.0");
    const by = report("pages")["bytesBy"] as Json;
    assert.equal(by["patch"], statSync(patchesOf("pages", "1.1.0")[0]!).size);
    const current = join(site.device, "components/pages/current");
    assert.equal(readFileSync(join(current, "a/b/page-7"), "utf8"), "changed\n");
    assert.equal(readFileSync(join(current, "a-new"), "utf8"), "new\n");
  });

  it("fetches the whole when a patch was damaged where it lies, and says so", () => {
    const folder = join(site.folder, "pages");
    writeFileSync(join(folder, "a/b/page-8"), "changed as well\n");
    publish("pages", "1.2.0", folder);
    for (const patch of patchesOf("pages", "1.2.0")) {
      const bytes = readFileSync(patch);
      bytes[120]! ^= 1;
      writeFileSync(patch, bytes);
    }
    update("1.2.0");
    assert.equal(report("pages")["detour"], "mirror/wrong-content");
    const { origin } = report("pages")["bytesBy"] as { origin: number };
    assert.ok(origin > 500_000, `${origin}`);
  });

  it("fetches the whole when what is installed was damaged", () => {
    const folder = join(site.folder, "pages");
    writeFileSync(join(folder, "a/b/page-9"), "changed as well\n");
    publish("pages", "1.3.0", folder);
    const page = join(site.device, "components/pages/current/a/b/page-20");
    chmodSync(page, 0o644);
    writeFileSync(page, readFileSync(page, "utf8").replace("page", "PAGE"));
    chmodSync(page, 0o444);
    update("1.3.0");
    assert.equal(report("pages")["detour"], "slot/damaged");
    const restored = join(site.device, "components/pages/current/a/b/page-20");
    assert.match(readFileSync(restored, "utf8"), /^page 20\n/);
  });

  it("makes no patches when it is asked not to, and only those that it is asked for", () => {
    const folder = join(site.folder, "pages");
    writeFileSync(join(folder, "a/b/page-10"), "changed as well\n");
    publish("pages", "1.4.0", folder, "--no-delta");
    assert.deepEqual(patchesOf("pages", "1.4.0"), []);
    writeFileSync(join(folder, "a/b/page-11"), "changed as well\n");
    publish("pages", "1.5.0", folder, "--delta-from", "1.0.0");
    assert.equal(patchesOf("pages", "1.5.0").length, 1);
    const words = ["release", "add", "pages", "1.6.0", folder, "--data-only", "--delta-from", "0.9.0"];
    const absent = site.upkeep(site.operator, ...words);
    assert.equal(absent.status, 2, absent.stderr);
  });
});
