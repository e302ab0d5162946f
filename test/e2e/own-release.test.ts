// Upkeep's own release: the same bytes from every clone, a bill of materials that names what is locked, and a program inside that runs.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { checkSubjects, parseProvenance, parseSbom } from "../../src/release/attestation.ts";
import { sha256Hex } from "../../src/core/digest.ts";

const root = new URL("../..", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "upkeep-own-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const clone = (name: string, umask: string): string => {
  const path = join(folder, name);
  execFileSync("sh", ["-c", `umask ${umask} && git clone -q --no-hardlinks "$1" "$2"`, "sh", root, path]);
  return path;
};
const make = (from: string, out: string): string =>
  execFileSync(process.execPath, [join(from, "tools/own-release.ts"), out], {
    encoding: "utf8",
    env: { PATH: process.env["PATH"] ?? "", TZ: out.endsWith("1") ? "UTC" : "Asia/Tokyo" },
  });

describe("Upkeep's own release", () => {
  it("has the same bytes from every clone, whatever the work tree, umask, path and clock say", () => {
    const [one, two] = [clone("a", "022"), clone("a-much-longer-name", "077")];
    // Its dependencies are pure TypeScript of this repository but for zod, which a clone has not installed yet.
    for (const path of [one, two])
      execFileSync("ln", ["-s", join(root, "node_modules"), join(path, "node_modules")]);
    writeFileSync(join(two, "README.md"), "changed in the work tree only\n");
    utimesSync(join(two, "package.json"), 1, 1);
    const [first, second] = [join(folder, "out1"), join(folder, "out2")];
    assert.equal(make(one, first), make(two, second));
    const names = readdirSync(first).toSorted();
    assert.equal(names.length, 4);
    for (const name of names)
      assert.ok(readFileSync(join(first, name)).equals(readFileSync(join(second, name))), name);
  });

  it("names every locked package with its digest, and its provenance the commit and these very bytes", () => {
    const out = join(folder, "out1");
    const read = (suffix: string): Uint8Array =>
      readFileSync(
        join(
          out,
          readdirSync(out).find((name) => name.endsWith(suffix))!,
        ),
      );
    const lock = JSON.parse(
      execFileSync("git", ["show", "HEAD:package-lock.json"], { cwd: root, encoding: "utf8" }),
    ) as { packages: { [path: string]: { link?: boolean } } };
    const packages = Object.entries(lock.packages).filter(
      ([path, { link }]) => path.includes("node_modules/") && link !== true,
    );
    assert.equal(parseSbom(read(".sbom.json")).components, packages.length);
    const bom = JSON.parse(Buffer.from(read(".sbom.json")).toString()) as {
      components: { name: string; hashes: unknown[]; scope: string }[];
    };
    assert.deepEqual(
      bom.components.filter(({ hashes }) => hashes.length !== 1),
      [],
    );
    assert.equal(bom.components.find(({ name }) => name === "zod")?.scope, "required");
    const provenance = parseProvenance(read(".provenance.json"));
    assert.equal(
      provenance.commit,
      execFileSync("git", ["rev-parse", "HEAD"], { cwd: root, encoding: "utf8" }).trim(),
    );
    checkSubjects(provenance, [{ file: "archive", sha256: sha256Hex(read(".tar.gz")) }]);
  });

  it("unpacks with the system's tar into a program that starts", () => {
    const out = join(folder, "out1");
    const archive = readdirSync(out).find((name) => name.endsWith(".tar.gz"))!;
    execFileSync("tar", ["-xzf", join(out, archive), "-C", folder]);
    const unpacked = join(folder, archive.replace(".tar.gz", ""));
    execFileSync("ln", ["-s", join(root, "node_modules"), join(unpacked, "node_modules")]);
    const { version } = JSON.parse(readFileSync(join(unpacked, "package.json"), "utf8")) as {
      version: string;
    };
    const said = execFileSync(process.execPath, [join(unpacked, "src/apps/cli/main.ts"), "--version"], {
      encoding: "utf8",
    });
    assert.equal(said.trim(), version);
  });
});
