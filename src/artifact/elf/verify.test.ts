// Believing ELF files: every way to spoil one has a refusal of its own.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import fc from "fast-check";
import { concat } from "../../core/bytes.ts";
import * as oids from "../../der/oids.ts";
import { formatName } from "../../der/names.ts";
import { publisherPki } from "../../testing/publisher-pki.ts";
import { tinyElf } from "../../testing/tiny-elf.ts";
import { parseSignedData } from "../cms.ts";
import { digestContent } from "../content-digest.ts";
import { signContent } from "../content-sign.ts";
import { ArtifactError } from "../errors.ts";
import { verifyPublisher } from "../publisher.ts";
import { bytesSource } from "../source.ts";
import { readContainer, writeContainer } from "./container.ts";
import { readBuildId, readElfHeader, strippableSections } from "./header.ts";
import { type ElfExpectation } from "./manifest.ts";
import { requireElf, verifyElf } from "./verify.ts";
import { elfPublisher, type ElfPublisher } from "../../testing/elf-publisher.ts";

const NOW = Date.UTC(2026, 10, 21);

let elf: ElfPublisher;
before(async () => {
  elf = await elfPublisher(NOW);
});

describe("believing an ELF file", () => {
  it("refuses one that lost its signature to strip", () => elf.refused(tinyElf(), "artifact/not-signed"));

  it("refuses one that was cut off, wherever", async () => {
    const file = tinyElf();
    const signed = await elf.sign(file);
    await elf.refused(signed.subarray(0, signed.length - 1), "artifact/truncated");
    await elf.refused(signed.subarray(0, signed.length - 41), "artifact/truncated");
    await elf.refused(signed.subarray(0, file.length + 100), "artifact/truncated");
    await elf.refused(file.subarray(0, file.length - 1), "artifact/truncated");
    await elf.refused(signed.subarray(200), "artifact/malformed");
  });

  it("refuses one whose middle was cut out", async () => {
    const file = tinyElf();
    const signed = await elf.sign(file);
    await elf.refused(
      concat([signed.subarray(0, file.length - 8), signed.subarray(file.length)]),
      "artifact/points-beyond",
    );
  });

  it("refuses a second signature behind the first", async () => {
    const signed = await elf.sign(tinyElf());
    const { cms } = (await readContainer(bytesSource(signed)))!;
    await elf.refused(concat([signed, writeContainer(cms)]), "artifact/doubled-signature");
  });

  it("refuses bytes behind the signature", async () => {
    const signed = await elf.sign(tinyElf());
    await elf.refused(concat([signed, Uint8Array.of(0)]), "artifact/trailing-bytes");
    await elf.refused(concat([signed, new Uint8Array(5000)]), "artifact/trailing-bytes");
  });

  it("refuses bytes between the signature and its trailer", async () => {
    const signed = await elf.sign(tinyElf());
    const { cms } = (await readContainer(bytesSource(signed)))!;
    await elf.refused(
      concat([tinyElf(), writeContainer(concat([cms, new Uint8Array(8)]))]),
      "artifact/bad-signature",
    );
  });

  it("refuses a changed byte anywhere in the content", async () => {
    const signed = await elf.sign(tinyElf());
    for (const at of [40, 130, 200]) {
      const changed = signed.slice();
      changed[at]! ^= 1;
      await assert.rejects(requireElf(bytesSource(changed), elf.policy), ArtifactError);
    }
    const changed = signed.slice();
    changed[150]! ^= 1;
    await elf.refused(changed, "artifact/bad-signature");
  });

  it("refuses a file for another machine, and a manifest that lies about the machine", async () => {
    const platform = { os: "linux", arch: "x64" };
    await requireElf(bytesSource(await elf.sign(tinyElf())), { ...elf.policy, platform });
    await elf.refused(await elf.sign(tinyElf({ machine: 183 })), "artifact/foreign-architecture", {
      platform,
    });
    await elf.refused(await elf.sign(tinyElf({ abi: 9 })), "artifact/foreign-architecture", { platform });
    await elf.refused(await elf.signLying(tinyElf(), { arch: "arm64" }), "artifact/foreign-architecture");
  });

  it("refuses an older release (rollback attack) and another product (mix-up)", async () => {
    const signed = await elf.sign(tinyElf());
    await requireElf(bytesSource(signed), { ...elf.policy, minimumRelease: 7, product: "example" });
    await elf.refused(signed, "artifact/older-release", { minimumRelease: 8 });
    await elf.refused(signed, "artifact/wrong-product", { product: "other" });
    await elf.refused(signed, "artifact/wrong-product", { version: "1.2.4" });
  });

  it("holds the second wall: the publisher of a release is in the program itself", async () => {
    const signed = bytesSource(await elf.sign(tinyElf()));
    const { subject } = (await verifyElf(signed, elf.policy)).signers[0]!.certificate!;
    const check = (pin: string, expect: ElfExpectation): Promise<unknown> =>
      verifyPublisher(
        signed,
        "example",
        { subject: pin },
        NOW,
        [elf.pki.root.certificate],
        undefined,
        expect,
      );
    await check(formatName(subject), { product: "example", version: "1.2.3" });
    await assert.rejects(check("CN=Mallory", {}), { code: "artifact/wrong-publisher" });
    await assert.rejects(check(formatName(subject), { version: "1.2.4" }), {
      code: "artifact/wrong-product",
    });
    await assert.rejects(check(formatName(subject), { product: "other" }), {
      code: "artifact/wrong-product",
    });
    await assert.rejects(check(formatName(subject), { minimumRelease: 8 }), {
      code: "artifact/older-release",
    });
    await assert.rejects(check(formatName(subject), { platform: { os: "linux", arch: "arm64" } }), {
      code: "artifact/foreign-architecture",
    });
  });

  it("refuses a manifest about other bytes", async () => {
    await elf.refused(await elf.signLying(tinyElf(), { length: 1 }), "artifact/bad-manifest");
    await elf.refused(
      await elf.signLying(tinyElf(), { merkleRoot: "00".repeat(32) }),
      "artifact/bad-manifest",
    );
  });

  it("refuses a signature without a manifest", async () => {
    const file = tinyElf();
    const digests = await digestContent(bytesSource(file), file.length, ["sha512"]);
    const cms = await signContent({ digests, signers: [elf.alice] });
    await elf.refused(concat([file, writeContainer(cms)]), "artifact/bad-manifest");
  });

  it("refuses a signer nobody trusts, and one whose certificate is not for code", async () => {
    const mallory = await elf.person(
      "Mallory",
      "ed25519",
      oids.codeSigning,
      await publisherPki({ now: NOW }),
    );
    await elf.refused(await elf.sign(tinyElf(), { signers: [mallory] }), "artifact/bad-signature");
    const server = await elf.person("server", "ed25519", oids.serverAuth);
    await elf.refused(await elf.sign(tinyElf(), { signers: [server] }), "artifact/bad-signature");
    // Beside a trusted one, a stranger who signed the same is no harm.
    await requireElf(bytesSource(await elf.sign(tinyElf(), { signers: [mallory, elf.alice] })), elf.policy);
  });

  it("refuses a signature lifted from another file", async () => {
    const other = await readContainer(bytesSource(await elf.sign(tinyElf({ machine: 183 }))));
    await elf.refused(concat([tinyElf(), writeContainer(other!.cms)]), "artifact/bad-signature");
  });

  it("reads ELF files of both classes and byte orders", async () => {
    const rows = [
      [{ machine: 62 }, "linux", "x64"],
      [{ machine: 62, bits: 32 }, "linux", "x32"],
      [{ machine: 3, bits: 32 }, "linux", "ia32"],
      [{ machine: 22, little: false }, "linux", "s390x"],
      [{ machine: 21, little: false }, "linux", "ppc64"],
      [{ machine: 8, bits: 32, little: false }, "linux", "mips"],
      [{ machine: 243, abi: 9 }, "freebsd", "riscv64"],
      [{ machine: 999 }, "linux", "machine-999"],
    ] as const;
    for (const [wish, os, arch] of rows) {
      const header = await readElfHeader(bytesSource(tinyElf(wish)));
      assert.deepEqual([header.os, header.arch, header.end], [os, arch, tinyElf(wish).length]);
    }
  });

  it("reads headers that say anything, without taking more memory than the file has", async () => {
    const words = [0, 1, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 2 ** 40];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<32 | 64>(32, 64),
        fc.boolean(),
        fc.array(fc.tuple(fc.nat(250), fc.constantFrom(...words), fc.constantFrom(1, 2, 4, 8)), {
          maxLength: 5,
        }),
        async (bits, little, edits) => {
          const file = tinyElf({ bits, little });
          const view = new DataView(file.buffer);
          for (const [at, value, size] of edits) {
            if (size === 1) view.setUint8(at, value & 0xff);
            else if (size === 2) view.setUint16(at, value & 0xffff, little);
            else if (size === 4) view.setUint32(at, value % 2 ** 32, little);
            else view.setBigUint64(at, BigInt(value), little);
          }
          let asked = 0;
          const source = bytesSource(file);
          const counted = {
            size: source.size,
            read: (position: number, into: Uint8Array): Promise<void> => {
              asked += into.length;
              return source.read(position, into);
            },
          };
          try {
            const header = await readElfHeader(counted);
            assert.ok(header.end <= file.length);
            strippableSections(header);
            await readBuildId(counted, header);
          } catch (error) {
            assert.ok(error instanceof ArtifactError, String(error));
          }
          assert.ok(asked < 20 * file.length, `${asked} bytes were asked for`);
        },
      ),
      { numRuns: 1500 },
    );
  });

  it("never answers a spoiled file with anything but its own error, and never believes one", async () => {
    const signed = await elf.sign(tinyElf());
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(signed.length - 1), fc.integer({ min: 1, max: 255 })), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.option(fc.nat(signed.length), { nil: undefined }),
        async (flips, cut) => {
          const spoiled = signed.slice(0, cut ?? signed.length);
          for (const [at, by] of flips) if (at < spoiled.length) spoiled[at]! ^= by;
          if (Buffer.compare(spoiled, signed) === 0) return;
          try {
            const report = await verifyElf(bytesSource(spoiled), elf.policy);
            if (report.believed)
              assert.ok(onlyUnsignedChanged(signed, spoiled), "a changed file was believed");
          } catch (error) {
            assert.ok(error instanceof ArtifactError, String(error));
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});

/** The bag of certificates and the order of sets are not signed; whatever else is believed must be what was signed. */
function onlyUnsignedChanged(a: Uint8Array, b: Uint8Array): boolean {
  const content = tinyElf().length;
  if (Buffer.compare(a.subarray(0, content), b.subarray(0, content)) !== 0) return false;
  const [x, y] = [a, b].map(
    (bytes) => parseSignedData(bytes.subarray(content, bytes.length - 40)).signers[0]!,
  );
  return Buffer.compare(x!.signedAttributesDer!, y!.signedAttributesDer!) === 0;
}
