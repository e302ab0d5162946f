// Catalogs: what they list is believed about these files and no others.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { toUtf8 } from "../../core/bytes.ts";
import { certificatePem } from "../../der/x509.ts";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import { ArtifactError } from "../errors.ts";
import type { Format } from "../format.ts";
import { makeSignature } from "../make-signature.ts";
import { peFormat } from "../pe/format.ts";
import type { FileReport, VerifyPolicy } from "../report.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { readCatalog, writeCatalog } from "./catalog.ts";
import { catFormat, unsignedCatalog } from "./format.ts";
import { memberOf, verifyByCatalog } from "./listed.ts";

const NOW = Date.UTC(2026, 10, 21);
const FILES: { readonly [name: string]: Uint8Array } = {
  "driver.sys": tinyPe(),
  "driver.inf": toUtf8("[Version]\r\n"),
  "Müller.txt": toUtf8("text"),
};
let pki: Pki;
let policy: VerifyPolicy;
let list: Uint8Array;
let signed: Uint8Array;

async function sign(format: Format, bytes: Uint8Array): Promise<Uint8Array> {
  const sink = new MemorySink();
  await format.sign({
    source: bytesSource(bytes),
    sink,
    mode: "new",
    hash: "sha256",
    makeSignature: (what) => makeSignature(what, { ...pki.leaf, chain: [pki.authority.certificate] }),
  });
  return sink.bytes;
}

before(async () => {
  pki = await publisherPki({ now: NOW, key: "rsa2048" });
  policy = { roots: [pki.root.certificate], now: NOW };
  const members = [];
  for (const [name, bytes] of Object.entries(FILES)) {
    members.push({ ...(await memberOf(bytesSource(bytes), "sha256")), name });
  }
  list = writeCatalog(members, new Uint8Array(16).fill(1), NOW);
  signed = await sign(catFormat, unsignedCatalog(list));
});

const verify = (bytes: Uint8Array, catalog = signed): Promise<FileReport> =>
  verifyByCatalog(bytesSource(bytes), bytesSource(catalog), policy);

const codes = (report: FileReport): readonly string[] =>
  report.findings.filter((finding) => finding.level === "error").map((finding) => finding.code);

describe("a catalog", () => {
  it("lists what was put into it, names included", () => {
    const { members } = readCatalog(list);
    assert.deepEqual(members.map(({ name, kind }) => `${name} ${kind}`).sort(), [
      "Müller.txt file",
      "driver.inf file",
      "driver.sys image",
    ]);
  });

  it("is believed about the files it lists, and about no others", async () => {
    for (const bytes of Object.values(FILES)) assert.equal((await verify(bytes)).valid, true);
    const other = await verify(toUtf8("[Version]\r\n; changed"));
    assert.deepEqual([other.valid, codes(other)], [false, ["cat/not-listed"]]);
    assert.equal((await verify(tinyPe({ seed: 2 }))).valid, false);
  });

  it("knows a program by its image, signed or not", async () => {
    assert.equal((await verify(await sign(peFormat, FILES["driver.sys"]!))).valid, true);
  });

  it("is not believed unsigned, or by somebody nobody trusts", async () => {
    const file = FILES["driver.inf"]!;
    assert.deepEqual(codes(await verify(file, unsignedCatalog(list))), ["cat/not-signed"]);
    const stranger = await publisherPki({ now: NOW });
    const report = await verifyByCatalog(bytesSource(file), bytesSource(signed), {
      ...policy,
      roots: [stranger.root.certificate],
    });
    assert.equal(report.valid, false);
  });

  it("refuses a list of no files, and bytes that are no list", () => {
    assert.throws(() => writeCatalog([], new Uint8Array(16), NOW), { code: "artifact/malformed" });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(list.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (flips) => {
          const spoiled = list.slice();
          for (const [at, by] of flips) spoiled[at] = by;
          try {
            readCatalog(spoiled);
          } catch (error) {
            assert.ok(error instanceof ArtifactError, String(error));
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

const witness =
  spawnSync("osslsigncode", ["--version"]).error === undefined
    ? {}
    : { skip: "osslsigncode is not installed" };

describe("a catalog, as osslsigncode sees it", { ...witness }, () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "upkeep-catalog-"));
    writeFileSync(join(folder, "root.pem"), certificatePem(pki.root.certificate));
    writeFileSync(join(folder, "files.cat"), signed);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it("vouches for a program that it lists, and for no other", () => {
    for (const [seed, wanted] of [
      [1, true],
      [2, false],
    ] as const) {
      writeFileSync(join(folder, "driver.sys"), tinyPe({ seed }));
      const args = ["verify", "-CAfile", "root.pem", "-catalog", "files.cat", "-in", "driver.sys"];
      const { status, stdout, stderr } = spawnSync("osslsigncode", args, { cwd: folder, encoding: "utf8" });
      assert.equal(status === 0, wanted, stdout + stderr);
    }
  });
});
