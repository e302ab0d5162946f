// The form in which the kernel signs its modules, with openssl as witness for both forms.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { toHex } from "../../core/bytes.ts";
import { certificatePem } from "../../der/x509.ts";
import { tinyElf } from "../../testing/tiny-elf.ts";
import { bytesSource } from "../source.ts";
import { readContainer, TRAILER_MAGIC } from "./container.ts";
import { requireElf } from "./verify.ts";
import { elfPublisher, type ElfPublisher } from "../../testing/elf-publisher.ts";

const NOW = Date.UTC(2026, 10, 21);

let elf: ElfPublisher;
before(async () => {
  elf = await elfPublisher(NOW);
});

const openssl = spawnSync("openssl", ["version"]).status === 0 ? {} : { skip: "openssl is not installed" };

describe("the kernel's form", { ...openssl }, () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "upkeep-elf-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const put = (name: string, content: string | Uint8Array): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };

  it("is, byte for byte, what openssl writes with the options of sign-file", async () => {
    const file = put("plain.elf", tinyElf());
    const key = put("key.pem", String(elf.alice.privateKey.export({ type: "pkcs8", format: "pem" })));
    const certificate = put("certificate.pem", certificatePem(elf.alice.certificate));
    const out = join(folder, "plain.p7s");
    const options = [
      "-sign",
      "-binary",
      "-noattr",
      "-nocerts",
      "-nosmimecap",
      "-md",
      "sha512",
      "-outform",
      "DER",
    ];
    execFileSync("openssl", [
      "cms",
      ...options,
      "-in",
      file,
      "-signer",
      certificate,
      "-inkey",
      key,
      "-out",
      out,
    ]);
    const signed = await elf.sign(tinyElf(), { plain: true });
    assert.deepEqual((await readContainer(bytesSource(signed)))!.cms, new Uint8Array(readFileSync(out)));
  });

  it("is believed with its signer's certificate at hand, and not without", async () => {
    for (const one of [elf.alice, await elf.person("Bob", "p256")]) {
      const signed = await elf.sign(tinyElf(), { plain: true, signers: [one] });
      const plainCertificates = [one.certificate, elf.pki.authority.certificate];
      await requireElf(bytesSource(signed), { ...elf.policy, plainCertificates });
      await elf.refused(signed, "artifact/bad-signature");
      const changed = signed.slice();
      changed[150]! ^= 1;
      await elf.refused(changed, "artifact/bad-signature", { plainCertificates });
    }
  });

  it("is verified by openssl, as is the full form", async () => {
    const root = put(
      "root.pem",
      [elf.pki.root, elf.pki.authority].map((one) => certificatePem(one.certificate)).join(""),
    );
    const certificate = put(
      "signer.pem",
      [elf.alice.certificate, elf.pki.authority.certificate].map(certificatePem).join(""),
    );
    const content = put("content", tinyElf());
    for (const kind of ["plain", "full"] as const) {
      const signed = await elf.sign(tinyElf(), {
        plain: kind === "plain",
      });
      const cms = put(`${kind}.p7s`, (await readContainer(bytesSource(signed)))!.cms);
      const seconds = String(NOW / 1000);
      const options = ["-verify", "-binary", "-inform", "DER", "-purpose", "any", "-attime", seconds];
      const files = [
        "-in",
        cms,
        "-content",
        content,
        "-CAfile",
        root,
        "-certfile",
        certificate,
        "-out",
        "/dev/null",
      ];
      const { status, stderr } = spawnSync("openssl", ["cms", ...options, ...files], { encoding: "utf8" });
      assert.equal(status, 0, stderr);
    }
  });

  it("ends with the magic of the kernel", async () => {
    const signed = await elf.sign(tinyElf(), { plain: true });
    const size = (await readContainer(bytesSource(signed)))!.cms.length;
    const info = signed.subarray(signed.length - 40, signed.length - 28);
    // sign-file 6.1 writes 00 00 02 00 00 00 00 00 and the length, big end first.
    assert.equal(toHex(info), `0000020000000000${size.toString(16).padStart(8, "0")}`);
    assert.deepEqual(signed.subarray(signed.length - 28), TRAILER_MAGIC);
  });
});
