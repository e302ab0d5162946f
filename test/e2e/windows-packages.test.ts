// Packages as other tools build them: signed by us, they still install and unpack, and osslsigncode agrees.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { certificatePem } from "../../src/der/x509.ts";
import type { SignOptions } from "../../src/artifact/format.ts";
import { formatOf } from "../../src/artifact/formats.ts";
import { makeSignature } from "../../src/artifact/make-signature.ts";
import type { FileReport } from "../../src/artifact/report.ts";
import { replaceFile, withFileSource } from "../../src/io/source/file.ts";
import { publisherPki, type Pki } from "../../src/testing/publisher-pki.ts";

const needs = (...commands: readonly string[]): { skip?: string } => {
  const missing = commands.filter((command) => spawnSync("sh", ["-c", `command -v ${command}`]).status !== 0);
  return missing.length === 0 ? {} : { skip: `${missing.join(" and ")} not installed` };
};

let folder: string;
let pki: Pki;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "upkeep-packages-"));
  pki = await publisherPki({ now: Date.now(), key: "rsa2048" });
  writeFileSync(join(folder, "root.pem"), certificatePem(pki.root.certificate));
  writeFileSync(join(folder, "readme.txt"), "read me\n".repeat(2000));
  // A stream that does not fit among the small ones, in a package with many that do.
  writeFileSync(
    join(folder, "random.bin"),
    Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i * 31) >> 3)),
  );
});
after(() => rmSync(folder, { recursive: true, force: true }));

const run = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, {
    cwd: folder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });

async function sign(name: string, options: SignOptions = {}): Promise<void> {
  const path = join(folder, name);
  const { certificate, signer } = pki.leaf;
  await replaceFile(path, path, async (source, sink) => {
    const format = await formatOf(source, name);
    return format.sign({
      source,
      sink,
      mode: "new",
      hash: "sha256",
      options,
      makeSignature: (what) =>
        makeSignature(what, { certificate, chain: [pki.authority.certificate], signer }),
    });
  });
}

async function remove(name: string): Promise<void> {
  const path = join(folder, name);
  await replaceFile(path, path, async (source, sink) => (await formatOf(source, name)).remove(source, sink));
}

const verify = (name: string): Promise<FileReport> =>
  withFileSource(join(folder, name), async (source) =>
    (await formatOf(source, name)).verify(source, { roots: [pki.root.certificate], now: Date.now() }),
  );

const WXS = `<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="*" UpgradeCode="7b3c1e0a-51d4-4c62-9f0e-0a4f3f6f2b11" Name="Example" Version="1.0.0" Manufacturer="Example" Language="1033">
    <Package InstallerVersion="200" Compressed="yes" Comments="Example"/>
    <Media Id="1" Cabinet="product.cab" EmbedCab="yes"/>
    <Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="ProgramFilesFolder"><Directory Id="INSTALLDIR" Name="Example">
      <Component Id="All" Guid="0d5e9c36-7d0c-4f0c-8a52-6f6a8a0f7d10">
        <File Id="Readme" Source="readme.txt"/><File Id="Random" Source="random.bin"/>
      </Component>
    </Directory></Directory></Directory>
    <Feature Id="Default" Level="1"><ComponentRef Id="All"/></Feature>
  </Product>
</Wix>
`;

describe("an installer package of wixl", { ...needs("wixl", "msiinfo", "osslsigncode") }, () => {
  /** Every stream and table, as another reader of the format sees them. */
  const seen = (name: string): string => {
    const streams = run("msiinfo", "streams", name)
      .split("\n")
      .filter((line) => line !== "" && !/DigitalSignature/.test(line));
    const tables = run("msiinfo", "tables", name)
      .split("\n")
      .filter((line) => line !== "");
    const rows = tables.map((table) => run("msiinfo", "export", name, table));
    return [...streams.sort(), ...tables.sort(), ...rows.sort()].join("\n");
  };

  before(() => {
    writeFileSync(join(folder, "example.wxs"), WXS);
    run("wixl", "-o", "unsigned.msi", "example.wxs");
  });

  for (const installerMetadata of [false, true]) {
    it(`holds what it held ${installerMetadata ? "with" : "without"} its metadata signed, and after the signature is gone`, async () => {
      copyFileSync(join(folder, "unsigned.msi"), join(folder, "package.msi"));
      await sign("package.msi", { installerMetadata });
      assert.equal((await verify("package.msi")).valid, true);
      assert.equal(seen("package.msi"), seen("unsigned.msi"));
      const cabinet = execFileSync("msiinfo", ["extract", "package.msi", "product.cab"], { cwd: folder });
      assert.deepEqual(
        cabinet,
        execFileSync("msiinfo", ["extract", "unsigned.msi", "product.cab"], { cwd: folder }),
      );
      assert.match(
        run("osslsigncode", "verify", "-CAfile", "root.pem", "-in", "package.msi"),
        /Signature verification: ok/,
      );
      await remove("package.msi");
      assert.equal((await verify("package.msi")).signed, false);
      assert.equal(seen("package.msi"), seen("unsigned.msi"));
    });
  }
});

describe("a cabinet of gcab", { ...needs("gcab", "osslsigncode") }, () => {
  for (const compress of [false, true]) {
    it(`unpacks after signing, ${compress ? "compressed" : "stored"}, and is itself again without the signature`, async () => {
      run("gcab", "-c", ...(compress ? ["-z"] : []), "package.cab", "readme.txt", "random.bin");
      const before_ = readFileSync(join(folder, "package.cab"));
      await sign("package.cab");
      assert.equal((await verify("package.cab")).valid, true);
      run("gcab", "-x", "-C", join(folder, "unpacked"), "package.cab");
      for (const name of ["readme.txt", "random.bin"]) {
        assert.deepEqual(readFileSync(join(folder, "unpacked", name)), readFileSync(join(folder, name)));
      }
      assert.match(
        run("osslsigncode", "verify", "-CAfile", "root.pem", "-in", "package.cab"),
        /Signature verification: ok/,
      );
      await remove("package.cab");
      assert.deepEqual(readFileSync(join(folder, "package.cab")), before_);
      rmSync(join(folder, "unpacked"), { recursive: true });
    });
  }
});
