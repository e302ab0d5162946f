// Every format through the signing service as programs: signed, believed by osslsigncode and by us, proven by the receipt.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { writeCatalog } from "../../src/artifact/cat/catalog.ts";
import { unsignedCatalog } from "../../src/artifact/cat/format.ts";
import { SCRIPTS } from "../../src/testing/tiny-windows-files.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import { needs, SigningWorld } from "./_signing.ts";

let world: SigningWorld;

before(async () => {
  world = await SigningWorld.start();
  world.put("readme.txt", "read me\n".repeat(2000));
});
after(() => world?.close());

/** Signed by the service; the signature, the receipt and another program's opinion are asked for. */
async function signedAndBelieved(file: string, ...options: readonly string[]): Promise<string> {
  const ran = await world.sign(file, ...options);
  assert.equal(ran.code, 0, ran.stdout + ran.stderr);
  await world.ok(["verify", "--root", "root.pem", file]);
  assert.match(await world.ok(["verify", "--receipt", `${file}.receipt`, file]), /it is for this file/);
  return world.run("osslsigncode", "verify", "-CAfile", "root.pem", "-in", file);
}

const WXS = `<?xml version="1.0" encoding="utf-8"?>
<Wix xmlns="http://schemas.microsoft.com/wix/2006/wi">
  <Product Id="*" UpgradeCode="7b3c1e0a-51d4-4c62-9f0e-0a4f3f6f2b11" Name="Example" Version="1.0.0" Manufacturer="Example" Language="1033">
    <Package InstallerVersion="200" Compressed="yes" Comments="Example"/>
    <Media Id="1" Cabinet="product.cab" EmbedCab="yes"/>
    <Directory Id="TARGETDIR" Name="SourceDir"><Directory Id="ProgramFilesFolder"><Directory Id="INSTALLDIR" Name="Example">
      <Component Id="All" Guid="0d5e9c36-7d0c-4f0c-8a52-6f6a8a0f7d10"><File Id="Readme" Source="readme.txt"/></Component>
    </Directory></Directory></Directory>
    <Feature Id="Default" Level="1"><ComponentRef Id="All"/></Feature>
  </Product>
</Wix>
`;

describe("the signing service signs", needs("osslsigncode"), () => {
  it("a catalog, by which osslsigncode believes the files it lists, and no others", async () => {
    world.put("driver.sys", tinyPe());
    world.put("driver.inf", "[Version]\r\n");
    await world.ok(["catalog", "driver.cat", "driver.sys", "driver.inf"]);
    assert.equal((await world.sign("driver.cat")).code, 0);
    await world.ok(["verify", "--root", "root.pem", "driver.cat"]);
    await world.ok(["verify", "--root", "root.pem", "--catalog", "driver.cat", "driver.inf"]);
    assert.match(
      await world.ok(["verify", "--receipt", "driver.cat.receipt", "driver.cat"]),
      /for this file/,
    );
    const asked = ["verify", "-CAfile", "root.pem", "-catalog", "driver.cat", "-in"];
    assert.match(await world.run("osslsigncode", ...asked, "driver.sys"), /Signature verification: ok/);
    world.put("other.sys", tinyPe({ seed: 2 }));
    assert.doesNotMatch(await world.run("osslsigncode", ...asked, "other.sys"), /Signature verification: ok/);
    const again = await world.sign("driver.cat");
    assert.equal(again.code, 3, again.stdout);
    assert.equal((await world.sign("driver.cat", "--append")).code, 0);
    await world.ok(["verify", "--root", "root.pem", "driver.cat"]);
  });

  it("what a catalog lists is read: a file is found through it in the log", async () => {
    world.put("listed.inf", "[Version]\r\n; listed\r\n");
    await world.ok(["catalog", "listed.cat", "driver.sys", "listed.inf"]);
    assert.equal((await world.sign("listed.cat")).code, 0);
    const found = await world.ok(["--data", "signer", "audit", "find", "listed.inf"]);
    assert.match(found, /intent .*authenticode\/cat.*listed\.cat.* lists 2 files, among them listed\.inf/);
    assert.match(found, /result .*listed\.cat/);
    const json = await world.ok(["--json", "--data", "signer", "audit", "find", "listed.inf"]);
    const { catalogs } = JSON.parse(json) as { catalogs: { files: number; listed: { name: string }[] }[] };
    assert.deepEqual(
      catalogs.map(({ files, listed }) => [files, listed.map(({ name }) => name)]),
      [[2, ["listed.inf"]]],
    );
    // The image digest of a program leads to its catalogs as well, and another file to none.
    assert.match(
      await world.ok(["--data", "signer", "audit", "find", "driver.sys"]),
      /among them driver\.sys/,
    );
    world.put("stranger.inf", "[Version]\r\n; another\r\n");
    assert.equal((await world.upkeep(["--data", "signer", "audit", "find", "stranger.inf"])).code, 1);
  });

  it("a catalog too long to be read only where the rule allows it", async () => {
    const members = Array.from({ length: 1500 }, (_, i) => ({
      name: `driver-${i}.sys`,
      kind: "file" as const,
      algorithm: "sha256" as const,
      digest: createHash("sha256").update(String(i)).digest(),
    }));
    world.put("long.cat", unsignedCatalog(writeCatalog(members, new Uint8Array(16).fill(3), Date.now())));
    const denied = await world.sign("long.cat");
    assert.equal(denied.code, 3, denied.stdout);
    assert.match(denied.stdout, /signing\/denied/);
    assert.match(
      await world.ok(["--data", "signer", "audit", "list", "--kind", "denied"]),
      /default\/catalog: the catalog's list did not come with the request/,
    );
    const rule = ["policy", "set", "release", "--user", "build", "--operation", "authenticode"];
    await world.admin(...rule, "--unread-catalogs");
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.equal((await world.sign("long.cat")).code, 0);
    await world.ok(["verify", "--root", "root.pem", "long.cat"]);
    await world.admin(...rule, "--member", "*.sys");
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await world.ok(["catalog", "both.cat", "driver.sys", "listed.inf"]);
    assert.equal((await world.sign("both.cat")).code, 3);
    await world.ok(["catalog", "one.cat", "driver.sys"]);
    assert.equal((await world.sign("one.cat")).code, 0);
  });

  it("catalogs only where the rule names them", async () => {
    await world.admin(
      "policy",
      "set",
      "release",
      "--user",
      "build",
      "--operation",
      "authenticode",
      "--format",
      "pe",
    );
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await world.ok(["catalog", "denied.cat", "driver.inf"]);
    const denied = await world.sign("denied.cat");
    assert.equal(denied.code, 3);
    assert.match(denied.stdout, /signing\/denied/);
    const operations = ["authenticode", "elf", "cms"].flatMap((each) => ["--operation", each]);
    await world.admin(
      "policy",
      "set",
      "release",
      "--user",
      "build",
      ...operations,
      "--format",
      "pe",
      "--format",
      "cat",
      "--format",
      "msi",
      "--format",
      "cab",
      "--format",
      "powershell",
    );
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.equal((await world.sign("denied.cat")).code, 0);
  });

  it("an installer package of wixl, with its metadata or without", needs("wixl"), async () => {
    world.put("example.wxs", WXS);
    for (const [file, ...options] of [["plain.msi"], ["full.msi", "--installer-metadata"]] as const) {
      await world.run("wixl", "-o", file, "example.wxs");
      assert.match(await signedAndBelieved(file, ...options), /Signature verification: ok/);
      const extended = Buffer.from(world.read(file)).includes(Buffer.from("DigitalSignatureEx", "utf16le"));
      assert.equal(extended, options.length > 0, file);
    }
  });

  it("a cabinet of gcab", needs("gcab"), async () => {
    await world.run("gcab", "-c", "-z", "package.cab", "readme.txt");
    assert.match(await signedAndBelieved("package.cab"), /Signature verification: ok/);
  });

  it("scripts in the encodings of PowerShell", async () => {
    for (const encoding of ["utf-8-bom", "utf-16le"] as const) {
      world.put(`${encoding}.ps1`, SCRIPTS[encoding]!);
      assert.match(await signedAndBelieved(`${encoding}.ps1`), /Signature verification: ok/);
    }
  });

  it("a program with page hashes", async () => {
    world.put("paged.sys", tinyPe({ sections: [20_000, 3000] }));
    assert.match(await signedAndBelieved("paged.sys", "--page-hashes"), /Signature verification: ok/);
  });
});
