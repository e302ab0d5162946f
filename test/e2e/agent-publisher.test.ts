// The second wall with real programs: an ELF file signed by its publisher, checked where it is published and on the device that will run it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { certificatePem, spkiPin } from "../../src/der/x509.ts";
import { publisherPki, type Pki } from "../../src/testing/publisher-pki.ts";
import { Site, type Ran } from "./_agent.ts";

const programs = ["previous", "current"].map(
  (which) => new URL(`../../node_modules/esbuild-linux-x64-${which}/`, import.meta.url).pathname,
);
const skip = existsSync(`${programs[0]!}bin/esbuild`)
  ? false
  : "the native programs are packaged for Linux on x64";

describe("a release that pins its publisher", { skip, timeout: 240_000 }, () => {
  let site: Site;
  let pki: Pki;
  let stranger: Pki;
  const versions = programs.map(
    (folder) => (JSON.parse(readFileSync(`${folder}package.json`, "utf8")) as { version: string }).version,
  );

  before(async () => {
    [pki, stranger] = [await publisherPki({ now: Date.now() }), await publisherPki({ now: Date.now() })];
    site = await Site.create();
    for (const [name, { leaf, authority, root }] of [
      ["ours", pki],
      ["theirs", stranger],
    ] as const) {
      writeFileSync(
        join(site.folder, `${name}.pem`),
        `${certificatePem(leaf.certificate)}${certificatePem(authority.certificate)}`,
      );
      writeFileSync(
        join(site.folder, `${name}.key`),
        leaf.privateKey.export({ type: "pkcs8", format: "pem" }),
        { mode: 0o600 },
      );
      writeFileSync(join(site.folder, `${name}-root.pem`), certificatePem(root.certificate));
    }
    writeFileSync(
      join(site.folder, "release.toml"),
      [
        "[publisher]",
        `spkiSha256 = ["${spkiPin(pki.leaf.certificate)}"]`,
        "[health]",
        'kind = "exit-code"',
        "startSeconds = 5",
        "intervalSeconds = 1",
        "timeoutSeconds = 5",
        "successes = 1",
        "failures = 1",
        "probationSeconds = 0",
        "",
      ].join("\n"),
    );
    await site.startServer();
    site.enroll();
    site.ok(site.upkeep(site.operator, "fleet", "assign", "default", "tool", "stable"));
  });
  after(() => site.remove());

  const keyOf = (by: "ours" | "theirs"): readonly string[] => [
    "--cert",
    join(site.folder, `${by}.pem`),
    "--key",
    join(site.folder, `${by}.key`),
  ];
  /** A copy of a native program, signed by one of the two publishers, or by nobody. */
  const program = (which: number, by: "ours" | "theirs" | null): string => {
    const file = join(site.folder, `tool-${which}-${by ?? "unsigned"}`);
    copyFileSync(`${programs[which]!}bin/esbuild`, file);
    if (by !== null) {
      const manifest = [
        "--product",
        "tool",
        "--release-version",
        versions[which]!,
        "--release-number",
        `${which + 1}`,
      ];
      site.ok(site.upkeep(site.operator, "sign", ...keyOf(by), ...manifest, file));
    }
    return file;
  };
  const add = (version: string, file: string): Ran => {
    const words = "release add --promote --json".split(" ");
    const settings = ["--run", "tool --version", "--config", join(site.folder, "release.toml")];
    return site.upkeep(site.operator, ...words, ...settings, "--", "tool", version, `linux-x64=${file}`);
  };
  /** An archive, with its publisher's signature beside it. */
  const bundle = (version: string, by: "ours" | "theirs" | null): string => {
    const folder = join(site.folder, `bundle-${version}`);
    mkdirSync(join(folder, "bin"), { recursive: true });
    writeFileSync(join(folder, "bin/job"), `#!/bin/sh\necho ${version}\n`);
    chmodSync(join(folder, "bin/job"), 0o755);
    const archive = `${folder}.tar.gz`;
    assert.equal(spawnSync("tar", ["-czf", archive, "-C", folder, "."]).status, 0);
    rmSync(`${archive}.sig`, { force: true });
    if (by !== null) site.ok(site.upkeep(site.operator, "sign", "--detached", ...keyOf(by), archive));
    return archive;
  };
  const addBundle = (version: string, archive: string): Ran => {
    const words = "release add --promote --json --run bin/job --config".split(" ");
    const settings = join(site.folder, "release.toml");
    return site.upkeep(site.operator, ...words, settings, "--", "bundle", version, `any=${archive}`);
  };
  const publishers = (...words: string[]): Ran =>
    site.ok(site.upkeep(site.operator, "repo", "publishers", "--json", ...words));
  const bundled = (): string => readlinkSync(join(site.device, "components/bundle/current"));
  const installed = (): string => readlinkSync(join(site.device, "components/tool/current"));

  it("is refused at publication while no authority is trusted, unsigned, or signed by somebody else", () => {
    assert.match(add(versions[0]!, program(0, "ours")).stderr, /trusts no authority of publishers/);
    publishers("--add", join(site.folder, "ours-root.pem"));
    const unsigned = add(versions[0]!, program(0, null));
    assert.match(unsigned.stderr, /artifact\/not-signed/);
    const foreign = add(versions[0]!, program(0, "theirs"));
    assert.match(foreign.stderr, /artifact\/bad-signature/);
    assert.ok(unsigned.status !== 0 && foreign.status !== 0);
  });

  it("is refused when the signed program says that it is another version (rollback attack)", () => {
    const older = add(versions[1]!, program(0, "ours"));
    assert.match(older.stderr, /artifact\/wrong-product/);
    assert.notEqual(older.status, 0);
  });

  it("is installed when its publisher signed it, and runs with the signature in it", () => {
    site.ok(add(versions[0]!, program(0, "ours")));
    const done = site.updateTo(versions[0]!);
    assert.equal(done.status, 0, done.stderr + done.stdout);
    assert.ok(installed().includes(versions[0]!));
  });

  it("is installed from an archive whose publisher signed beside it, and from no other archive", () => {
    site.ok(site.upkeep(site.operator, "fleet", "assign", "default", "bundle", "stable"));
    assert.match(addBundle("1.0.0", bundle("1.0.0", null)).stderr, /none beside it/);
    assert.match(addBundle("1.0.0", bundle("1.0.0", "theirs")).stderr, /artifact\/bad-signature/);
    const archive = bundle("1.0.0", "ours");
    const signature = readFileSync(`${archive}.sig`);
    writeFileSync(`${archive}.sig`, "no signature at all");
    assert.match(addBundle("1.0.0", archive).stderr, /artifact\/bad-signature/);
    writeFileSync(`${archive}.sig`, signature);
    const added = JSON.parse(site.ok(addBundle("1.0.0", archive)).stdout) as {
      manifest: { artifacts: { target: string; signature: { target: string; length: number } }[] };
    };
    const [artifact] = added.manifest.artifacts;
    assert.equal(artifact!.signature.target, `${artifact!.target}.sig`);
    assert.equal(artifact!.signature.length, signature.length);
    const done = site.updateTo("1.0.0");
    assert.equal(done.status, 0, done.stderr + done.stdout);
    assert.ok(bundled().includes("1.0.0"));
    site.ok(site.upkeep(site.operator, "repo", "doctor"));
  });

  it("is refused by the device when the authority is trusted no more, and the old version stays", () => {
    site.ok(add(versions[1]!, program(1, "ours")));
    site.ok(addBundle("1.1.0", bundle("1.1.0", "ours")));
    publishers("--add", join(site.folder, "theirs-root.pem"), "--remove", spkiPin(pki.root.certificate));
    const refused = site.updateTo(versions[1]!);
    assert.notEqual(refused.status, 0);
    assert.match(refused.stdout + refused.stderr, /artifact\/bad-signature/);
    assert.ok(installed().includes(versions[0]!));
    assert.ok(bundled().includes("1.0.0"));
    // The server may have seen the promotion of one product before that of the other.
    const offered = site.updateTo("1.1.0");
    assert.ok(bundled().includes("1.0.0"), offered.stdout + offered.stderr);
    const last = site.attempts().slice(-2);
    assert.deepEqual(
      last.map((report) => [report["outcome"], report["code"], report["running"]]).sort(),
      [
        ["refused", "artifact/bad-signature", versions[0]],
        ["refused", "artifact/bad-signature", "1.0.0"],
      ].sort(),
    );
  });
});
