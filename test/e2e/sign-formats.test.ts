// The commands `sign`, `verify` and `remove` over every format but PE, as a build script calls them.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { certificatePem } from "../../src/der/x509.ts";
import { SCRIPTS, tinyCab, tinyCat, tinyMsi } from "../../src/testing/tiny-windows-files.ts";
import { tinyElf } from "../../src/testing/tiny-elf.ts";
import { publisherPki } from "../../src/testing/publisher-pki.ts";

const upkeep = join(new URL("../..", import.meta.url).pathname, "upkeep");
let folder: string;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "upkeep-sign-"));
  const pki = await publisherPki({ now: Date.now() });
  put("key.pem", String(pki.leaf.privateKey.export({ type: "pkcs8", format: "pem" })));
  put("chain.pem", [pki.leaf, pki.authority].map((holder) => certificatePem(holder.certificate)).join(""));
  put("root.pem", certificatePem(pki.root.certificate));
  put("stranger.pem", certificatePem((await publisherPki({ now: Date.now() })).root.certificate));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function put(name: string, content: string | Uint8Array): string {
  writeFileSync(join(folder, name), content);
  return name;
}

type Said = {
  readonly exit: number | null;
  readonly lines: readonly { readonly [member: string]: unknown }[];
  readonly text: string;
};

function run(command: string, ...args: readonly string[]): Said {
  const env = { ...process.env, UPKEEP_DATA: join(folder, "data") };
  const words = [command, "--json", ...args];
  const { status, stdout, stderr } = spawnSync(upkeep, words, {
    cwd: folder,
    env,
    encoding: "utf8",
    timeout: 60_000,
  });
  const lines = stdout.split("\n").filter((line) => line.startsWith("{"));
  return {
    exit: status,
    lines: lines.map((line) => JSON.parse(line) as Said["lines"][number]),
    text: stdout + stderr,
  };
}

const KEYS = ["--cert", "chain.pem", "--key", "key.pem"];
const IDENTITY = ["--product", "app", "--release-version", "1.4.0", "--release-number", "17"];
const ROOT = ["--root", "root.pem"];

const codes = (said: Said): string =>
  JSON.stringify(said.lines)
    .match(/"code":"[^"]+"/g)
    ?.join(" ") ?? said.text;

describe("signing on the command line", () => {
  it("signs, verifies and restores files of every format in one call", async () => {
    const files: { readonly [name: string]: Uint8Array } = {
      "app.elf": tinyElf(),
      "script.ps1": SCRIPTS["utf-8-bom"]!,
      "module.psm1": SCRIPTS["utf-16le"]!,
      "files.cab": tinyCab("a.txt", new Uint8Array(500)),
      "setup.msi": await tinyMsi(),
      "driver.cat": tinyCat(),
    };
    const names = Object.keys(files);
    for (const [name, bytes] of Object.entries(files)) put(name, bytes);
    const unsigned = run("verify", ...ROOT, ...names);
    assert.equal(unsigned.exit, 6, unsigned.text);
    assert.deepEqual(
      unsigned.lines.map((line) => line["signed"]),
      names.map(() => false),
    );
    const signed = run("sign", ...KEYS, ...IDENTITY, ...names);
    assert.equal(signed.exit, 0, signed.text);
    assert.deepEqual(
      signed.lines.map((line) => line["format"]),
      ["elf", "powershell", "powershell", "cab", "msi", "cat"],
    );
    const verified = run("verify", ...ROOT, ...names);
    assert.equal(verified.exit, 0, verified.text);
    assert.deepEqual(
      run("sign", ...KEYS, ...IDENTITY, "--skip-signed", ...names).lines.map((line) => line["status"]),
      names.map(() => "skipped"),
    );
    const stranger = run("verify", "--root", "stranger.pem", ...names);
    assert.equal(stranger.exit, 6);
    assert.equal(run("remove", ...names).exit, 0);
    for (const [name, bytes] of Object.entries(files)) {
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, name))), bytes, name);
    }
  });

  it("says what a Linux program claims to be, and refuses what it is not", () => {
    put("program", tinyElf());
    const missing = run("sign", ...KEYS, "program");
    assert.notEqual(missing.exit, 0);
    assert.match(missing.text, /--product/);
    assert.equal(run("sign", ...KEYS, ...IDENTITY, "--channel", "stable", "program").exit, 0);
    const good = run(
      "verify",
      ...ROOT,
      "--product",
      "app",
      "--minimum-release",
      "17",
      "--platform",
      "linux/x64",
      "program",
    );
    assert.equal(good.exit, 0, good.text);
    assert.match(
      JSON.stringify(good.lines[0]!["about"]),
      /"product":"app","version":"1.4.0","release":17,"os":"linux","arch":"x64"/,
    );
    const rows = [
      [["--minimum-release", "18"], "artifact/older-release"],
      [["--product", "other"], "artifact/wrong-product"],
      [["--platform", "linux/arm64"], "artifact/foreign-architecture"],
    ] as const;
    for (const [options, code] of rows) {
      const said = run("verify", ...ROOT, ...options, "program");
      assert.equal(said.exit, 6, said.text);
      assert.ok(codes(said).includes(code), said.text);
    }
    appendFileSync(join(folder, "program"), "x");
    assert.ok(codes(run("verify", ...ROOT, "program")).includes("artifact/trailing-bytes"));
  });

  it("signs as the kernel does, and believes it with the signer's certificate at hand", () => {
    put("module.ko", tinyElf());
    const signed = run("sign", ...KEYS, "--kernel", "module.ko");
    assert.equal(signed.exit, 0, signed.text);
    assert.equal(run("verify", ...ROOT, "module.ko").exit, 6);
    const said = run("verify", ...ROOT, "--signer-cert", "chain.pem", "module.ko");
    assert.equal(said.exit, 0, said.text);
  });

  it("refuses a program with symbols where stripped ones are demanded (M15)", () => {
    put("symbols", tinyElf({ sections: [[".symtab", 2, new Uint8Array(48)]] }));
    const refused = run("sign", ...KEYS, ...IDENTITY, "--require-stripped", "symbols");
    assert.notEqual(refused.exit, 0);
    assert.ok(refused.text.includes("artifact/not-stripped"), refused.text);
    assert.equal(run("sign", ...KEYS, ...IDENTITY, "symbols").exit, 0);
    assert.equal(run("verify", ...ROOT, "--require-stripped", "symbols").exit, 6);
  });

  it("signs beside a file that must not change", () => {
    put("data.bin", "content");
    const signed = run("sign", ...KEYS, "--detached", "data.bin");
    assert.equal(signed.exit, 0, signed.text);
    assert.equal(readFileSync(join(folder, "data.bin"), "utf8"), "content");
    const verified = run("verify", ...ROOT, "data.bin");
    assert.equal(verified.exit, 0, verified.text);
    assert.notEqual(run("sign", ...KEYS, "--detached", "data.bin").exit, 0);
    assert.equal(run("sign", ...KEYS, "--detached", "--replace", "data.bin").exit, 0);
    copyFileSync(join(folder, "data.bin.sig"), join(folder, "elsewhere"));
    assert.equal(run("verify", ...ROOT, "--signature", "elsewhere", "data.bin").exit, 0);
    appendFileSync(join(folder, "data.bin"), "!");
    const changed = run("verify", ...ROOT, "data.bin");
    assert.equal(changed.exit, 6);
    assert.ok(codes(changed).includes("cms/message-digest-mismatch"), changed.text);
    assert.ok(!existsSync(join(folder, "data.bin.sig.tmp")));
  });

  it("makes a catalog, signs it, and verifies files by it", () => {
    put("driver.inf", "[Version]\r\n");
    put("other.inf", "[Other]\r\n");
    const made = run("catalog", "files.cat", "driver.inf");
    assert.equal(made.exit, 0, made.text);
    assert.equal(run("catalog", "files.cat", "driver.inf").exit, 2);
    assert.equal(run("verify", ...ROOT, "--catalog", "files.cat", "driver.inf").exit, 6);
    assert.equal(run("sign", ...KEYS, "files.cat").exit, 0);
    const listed = run("verify", ...ROOT, "--catalog", "files.cat", "driver.inf");
    assert.equal(listed.exit, 0, listed.text);
    const other = run("verify", ...ROOT, "--catalog", "files.cat", "other.inf");
    assert.equal(other.exit, 6);
    assert.ok(codes(other).includes("cat/not-listed"), other.text);
  });

  it("draws what a signature covers", () => {
    put("picture", tinyElf());
    run("sign", ...KEYS, ...IDENTITY, "picture");
    const [line] = run("verify", ...ROOT, "--explain", "picture").lines;
    const layout = line!["layout"] as readonly {
      readonly from: number;
      readonly to: number;
      readonly what: string;
      readonly covered: boolean;
    }[];
    assert.deepEqual(
      layout.map(({ what, covered }) => [what, covered]),
      [
        ["executable for linux on x64", true],
        ["signature", false],
        ["trailer", false],
      ],
    );
    assert.equal(layout.at(-1)!.to, readFileSync(join(folder, "picture")).length);
  });

  it("names the formats that are not supported yet", () => {
    put("App.msix", Uint8Array.of(0x50, 0x4b, 3, 4));
    put("darwin", Uint8Array.of(0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1));
    for (const [file, name] of [
      ["App.msix", /MSIX/],
      ["darwin", /Mach-O/],
    ] as const) {
      for (const call of [() => run("sign", ...KEYS, file), () => run("verify", ...ROOT, file)]) {
        const said = call();
        assert.notEqual(said.exit, 0);
        assert.match(said.text, name);
      }
    }
  });
});
