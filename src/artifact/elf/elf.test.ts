// Signed ELF files: what is accepted, and that every way to spoil one has a refusal of its own.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { concat, toHex } from "../../core/bytes.ts";
import { DAY } from "../../core/instant.ts";
import * as oids from "../../der/oids.ts";
import { RunningMerkle } from "../../core/digest.ts";
import { encoded } from "../../der/reader.ts";
import { formatName } from "../../der/names.ts";
import { certificatePem } from "../../der/x509.ts";
import { issue, publisherPki, type Holder, type Pki, type TestKey } from "../../testing/publisher-pki.ts";
import { answerTimestamp } from "../../testing/timestamp-authority.ts";
import { tinyElf } from "../../testing/tiny-elf.ts";
import { attribute, digest } from "../cms-build.ts";
import { parseSignedData } from "../cms.ts";
import { digestContent } from "../content-digest.ts";
import { hashOf, signContent, type ContentSigner, type Stamp } from "../content-sign.ts";
import { ArtifactError } from "../errors.ts";
import { verifyPublisher } from "../publisher.ts";
import { makeSignature } from "../make-signature.ts";
import { writeRewrite } from "../rewrite.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { parseTimestampReply, timestampRequest } from "../timestamp-request.ts";
import { elfFormat } from "./format.ts";
import { readContainer, TRAILER_MAGIC, writeContainer } from "./container.ts";
import { readBuildId, readElfHeader, strippableSections } from "./header.ts";
import { MANIFEST_OID, readManifest, writeManifest, type ElfExpectation, type Manifest } from "./manifest.ts";
import { removeFromElf, signElf, type ElfSigning } from "./sign.ts";
import { requireElf, verifyElf, type ElfPolicy } from "./verify.ts";

const NOW = Date.UTC(2026, 10, 21);

const openssl = spawnSync("openssl", ["version"]).status === 0 ? {} : { skip: "openssl is not installed" };
const IDENTITY = { product: "example", version: "1.2.3", release: 7, channel: "stable" } as const;

type Person = ContentSigner & Pick<Holder, "privateKey">;

let pki: Pki;
let alice: Person;
let policy: ElfPolicy;

before(async () => {
  pki = await publisherPki({ now: NOW });
  alice = await person("Alice", "rsa2048");
  policy = { roots: [pki.root.certificate], now: NOW };
});

async function person(name: string, key: TestKey, eku = oids.codeSigning, under = pki): Promise<Person> {
  const span = { notBefore: NOW - DAY, notAfter: NOW + 365 * DAY };
  const holder = await issue(under.authority, name, key, { ...span, eku: [eku] });
  return { ...holder, chain: [under.authority.certificate] };
}

type Wish = {
  readonly signers?: readonly ContentSigner[];
  readonly plain?: boolean;
  readonly release?: number;
  readonly mode?: ElfSigning["mode"];
  readonly requireStripped?: boolean;
  readonly stamp?: Stamp;
};

async function sign(file: Uint8Array, wish: Wish = {}): Promise<Uint8Array> {
  const {
    signers = [alice],
    plain = false,
    release = IDENTITY.release,
    mode = "new",
    requireStripped = false,
  } = wish;
  const [first, ...rest] = signers.map((one) => ({ ...one, hash: hashOf(one) }));
  const source = bytesSource(file);
  const { rewrite } = await signElf(source, {
    identity: plain ? null : { ...IDENTITY, release },
    hashes: [first!.hash, ...rest.map((one) => one.hash)],
    // Several at once, as the signing service may; `makeSignature` is the way of one.
    makeSignature: (what) =>
      what.kind === "plain" || rest.length === 0
        ? makeSignature(what, { ...first!, ...(wish.stamp === undefined ? {} : { stamp: wish.stamp }) })
        : signContent({
            digests: what.digests,
            signers: [first!, ...rest],
            attributes: [attribute(MANIFEST_OID, what.manifest!)],
          }),
    mode,
    requireStripped,
  });
  const sink = new MemorySink();
  await writeRewrite(source, rewrite, sink);
  return sink.bytes;
}

/** Signs with a manifest that `signElf` would not write. */
async function signLying(file: Uint8Array, lie: Partial<Manifest>): Promise<Uint8Array> {
  const honest = (await verifyElf(bytesSource(await sign(file)), policy)).manifest!;
  const digests = await digestContent(bytesSource(file), file.length, ["sha512"]);
  const cms = await signContent({
    digests,
    signers: [alice],
    attributes: [attribute(MANIFEST_OID, writeManifest({ ...honest, ...lie }))],
  });
  return concat([file, writeContainer(cms)]);
}

const refused = (file: Uint8Array, code: string, more: Partial<ElfPolicy> = {}): Promise<void> =>
  assert.rejects(requireElf(bytesSource(file), { ...policy, ...more }), (error: unknown) => {
    assert.ok(error instanceof ArtifactError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });

describe("signing an ELF file", () => {
  it("says who signed what, and for which platform", async () => {
    const report = await requireElf(bytesSource(await sign(tinyElf())), policy);
    assert.equal(report.form, "full");
    assert.match(report.signers[0]!.name!, /CN=Alice/);
    assert.deepEqual(
      { ...report.manifest!, merkleRoot: "" },
      { ...IDENTITY, os: "linux", arch: "x64", length: tinyElf().length, merkleRoot: "" },
    );
  });

  it("signs with every kind of key", async () => {
    for (const key of ["ed25519", "p256", "p384"] as const) {
      const one = await person(key, key);
      const report = await requireElf(bytesSource(await sign(tinyElf(), { signers: [one] })), policy);
      assert.equal(report.signers[0]!.believed, true);
    }
  });

  it("keeps the file's own bytes, and gives them back", async () => {
    const file = tinyElf();
    const signed = await sign(file);
    assert.deepEqual(signed.subarray(0, file.length), file);
    const sink = new MemorySink();
    await writeRewrite(bytesSource(signed), await removeFromElf(bytesSource(signed)), sink);
    assert.deepEqual(sink.bytes, file);
  });

  it("has the Merkle root that pieces of a release have", async () => {
    const file = tinyElf({ sections: [[".text", 1, new Uint8Array(2_500_000).fill(7)]] });
    const { manifest } = await requireElf(bytesSource(await sign(file)), policy);
    const merkle = new RunningMerkle(1024 * 1024);
    merkle.update(file);
    assert.equal(manifest!.merkleRoot, merkle.rootHex());
  });

  it("carries the build id of the file", async () => {
    const note = Buffer.alloc(24);
    note.writeUInt32LE(4, 0);
    note.writeUInt32LE(8, 4);
    note.writeUInt32LE(3, 8);
    note.write("GNU\0", 12);
    note.write("builtby!", 16);
    const file = tinyElf({ sections: [[".note.gnu.build-id", 7, new Uint8Array(note)]] });
    const { manifest } = await requireElf(bytesSource(await sign(file)), policy);
    assert.equal(manifest!.buildId, toHex(Buffer.from("builtby!")));
  });

  it("takes several signers into one signature, then and later", async () => {
    const bob = await person("Bob", "ed25519");
    const carol = await person("Carol", "p256");
    const two = await sign(tinyElf(), { signers: [alice, bob] });
    const three = await sign(two, { signers: [carol], mode: "append" });
    const report = await requireElf(bytesSource(three), policy);
    assert.deepEqual(report.signers.map((signer) => /CN=(\w+)/.exec(signer.name!)![1]).sort(), [
      "Alice",
      "Bob",
      "Carol",
    ]);
    await assert.rejects(sign(three, { signers: [bob], mode: "append" }), {
      code: "artifact/already-signed",
    });
    await assert.rejects(sign(two, { signers: [carol], mode: "append", release: 8 }), {
      code: "artifact/bad-manifest",
    });
  });

  it("is valid beyond the certificate with a time stamp, put on at once or later", async () => {
    const later = { ...policy, now: NOW + 1000 * DAY };
    const token = async (value: Uint8Array): Promise<Uint8Array> => {
      const request = timestampRequest(digest("sha256", value), "sha256", Uint8Array.of(5));
      return encoded(parseTimestampReply((await answerTimestamp(request, pki.stamper, [], NOW)).body));
    };
    const plain = await sign(tinyElf());
    await refused(plain, "artifact/bad-signature", later);
    const sink = new MemorySink();
    await elfFormat.stamp({ source: bytesSource(plain), sink, makeToken: token });
    for (const stamped of [sink.bytes, await sign(tinyElf(), { stamp: token })]) {
      const report = await requireElf(bytesSource(stamped), { ...later, requireTimestamp: true });
      assert.equal(report.signers[0]!.timestamp!.time, NOW);
    }
  });

  it("refuses a signed file unless it is told what to do with the signature", async () => {
    const signed = await sign(tinyElf());
    await assert.rejects(sign(signed), { code: "artifact/already-signed" });
    await requireElf(bytesSource(await sign(signed, { mode: "replace" })), policy);
  });

  it("refuses an unstripped file where stripped ones are demanded, and says so otherwise (M15)", async () => {
    for (const name of [".symtab", ".debug_info", ".zdebug_line"]) {
      const file = tinyElf({ sections: [[name, name === ".symtab" ? 2 : 1, new Uint8Array(48)]] });
      await assert.rejects(sign(file, { requireStripped: true }), { code: "artifact/not-stripped" });
      const signed = await sign(file);
      await requireElf(bytesSource(signed), policy);
      await refused(signed, "artifact/not-stripped", { requireStripped: true });
    }
  });
});

describe("believing an ELF file", () => {
  it("refuses one that lost its signature to strip", () => refused(tinyElf(), "artifact/not-signed"));

  it("refuses one that was cut off, wherever", async () => {
    const file = tinyElf();
    const signed = await sign(file);
    await refused(signed.subarray(0, signed.length - 1), "artifact/truncated");
    await refused(signed.subarray(0, signed.length - 41), "artifact/truncated");
    await refused(signed.subarray(0, file.length + 100), "artifact/truncated");
    await refused(file.subarray(0, file.length - 1), "artifact/truncated");
    await refused(signed.subarray(200), "artifact/malformed");
  });

  it("refuses one whose middle was cut out", async () => {
    const file = tinyElf();
    const signed = await sign(file);
    await refused(
      concat([signed.subarray(0, file.length - 8), signed.subarray(file.length)]),
      "artifact/points-beyond",
    );
  });

  it("refuses a second signature behind the first", async () => {
    const signed = await sign(tinyElf());
    const { cms } = (await readContainer(bytesSource(signed)))!;
    await refused(concat([signed, writeContainer(cms)]), "artifact/doubled-signature");
  });

  it("refuses bytes behind the signature", async () => {
    const signed = await sign(tinyElf());
    await refused(concat([signed, Uint8Array.of(0)]), "artifact/trailing-bytes");
    await refused(concat([signed, new Uint8Array(5000)]), "artifact/trailing-bytes");
  });

  it("refuses bytes between the signature and its trailer", async () => {
    const signed = await sign(tinyElf());
    const { cms } = (await readContainer(bytesSource(signed)))!;
    await refused(
      concat([tinyElf(), writeContainer(concat([cms, new Uint8Array(8)]))]),
      "artifact/bad-signature",
    );
  });

  it("refuses a changed byte anywhere in the content", async () => {
    const signed = await sign(tinyElf());
    for (const at of [40, 130, 200]) {
      const changed = signed.slice();
      changed[at]! ^= 1;
      await assert.rejects(requireElf(bytesSource(changed), policy), ArtifactError);
    }
    const changed = signed.slice();
    changed[150]! ^= 1;
    await refused(changed, "artifact/bad-signature");
  });

  it("refuses a file for another machine, and a manifest that lies about the machine", async () => {
    const platform = { os: "linux", arch: "x64" };
    await requireElf(bytesSource(await sign(tinyElf())), { ...policy, platform });
    await refused(await sign(tinyElf({ machine: 183 })), "artifact/foreign-architecture", { platform });
    await refused(await sign(tinyElf({ abi: 9 })), "artifact/foreign-architecture", { platform });
    await refused(await signLying(tinyElf(), { arch: "arm64" }), "artifact/foreign-architecture");
  });

  it("refuses an older release (rollback attack) and another product (mix-up)", async () => {
    const signed = await sign(tinyElf());
    await requireElf(bytesSource(signed), { ...policy, minimumRelease: 7, product: "example" });
    await refused(signed, "artifact/older-release", { minimumRelease: 8 });
    await refused(signed, "artifact/wrong-product", { product: "other" });
    await refused(signed, "artifact/wrong-product", { version: "1.2.4" });
  });

  it("holds the second wall: the publisher of a release is in the program itself", async () => {
    const signed = bytesSource(await sign(tinyElf()));
    const { subject } = (await verifyElf(signed, policy)).signers[0]!.certificate!;
    const check = (pin: string, expect: ElfExpectation): Promise<unknown> =>
      verifyPublisher(signed, "example", { subject: pin }, NOW, [pki.root.certificate], undefined, expect);
    await check(formatName(subject), { product: "example", version: "1.2.3" });
    await assert.rejects(check("CN=Mallory", {}), { code: "artifact/wrong-publisher" });
    await assert.rejects(check(formatName(subject), { version: "1.2.4" }), {
      code: "artifact/bad-signature",
    });
  });

  it("refuses a manifest about other bytes", async () => {
    await refused(await signLying(tinyElf(), { length: 1 }), "artifact/bad-manifest");
    await refused(await signLying(tinyElf(), { merkleRoot: "00".repeat(32) }), "artifact/bad-manifest");
  });

  it("refuses a signature without a manifest", async () => {
    const file = tinyElf();
    const digests = await digestContent(bytesSource(file), file.length, ["sha512"]);
    const cms = await signContent({ digests, signers: [alice] });
    await refused(concat([file, writeContainer(cms)]), "artifact/bad-manifest");
  });

  it("refuses a signer nobody trusts, and one whose certificate is not for code", async () => {
    const mallory = await person("Mallory", "ed25519", oids.codeSigning, await publisherPki({ now: NOW }));
    await refused(await sign(tinyElf(), { signers: [mallory] }), "artifact/bad-signature");
    const server = await person("server", "ed25519", oids.serverAuth);
    await refused(await sign(tinyElf(), { signers: [server] }), "artifact/bad-signature");
    // Beside a trusted one, a stranger who signed the same is no harm.
    await requireElf(bytesSource(await sign(tinyElf(), { signers: [mallory, alice] })), policy);
  });

  it("refuses a signature lifted from another file", async () => {
    const other = await readContainer(bytesSource(await sign(tinyElf({ machine: 183 }))));
    await refused(concat([tinyElf(), writeContainer(other!.cms)]), "artifact/bad-signature");
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
    const signed = await sign(tinyElf());
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
            const report = await verifyElf(bytesSource(spoiled), policy);
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

describe("the manifest", () => {
  const manifest: Manifest = {
    product: "example",
    version: "1.2.3",
    release: 2 ** 40,
    os: "linux",
    arch: "arm64",
    length: 12345,
    merkleRoot: "ab".repeat(32),
  };

  it("has one spelling", () => {
    for (const one of [manifest, { ...manifest, channel: "beta" }, { ...manifest, buildId: "0011223344" }]) {
      assert.deepEqual(readManifest(writeManifest(one)), one);
    }
  });

  it("names every field that is wrong", () => {
    assert.throws(() => writeManifest({ ...manifest, product: "a b", release: -1, merkleRoot: "AB" }), {
      code: "artifact/bad-manifest",
      message: /product, release, merkleRoot/,
    });
  });
});

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
    const key = put("key.pem", String(alice.privateKey.export({ type: "pkcs8", format: "pem" })));
    const certificate = put("certificate.pem", certificatePem(alice.certificate));
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
    const signed = await sign(tinyElf(), { plain: true });
    assert.deepEqual((await readContainer(bytesSource(signed)))!.cms, new Uint8Array(readFileSync(out)));
  });

  it("is believed with its signer's certificate at hand, and not without", async () => {
    for (const one of [alice, await person("Bob", "p256")]) {
      const signed = await sign(tinyElf(), { plain: true, signers: [one] });
      const plainCertificates = [one.certificate, pki.authority.certificate];
      await requireElf(bytesSource(signed), { ...policy, plainCertificates });
      await refused(signed, "artifact/bad-signature");
      const changed = signed.slice();
      changed[150]! ^= 1;
      await refused(changed, "artifact/bad-signature", { plainCertificates });
    }
  });

  it("is verified by openssl, as is the full form", async () => {
    const root = put(
      "root.pem",
      [pki.root, pki.authority].map((one) => certificatePem(one.certificate)).join(""),
    );
    const certificate = put(
      "signer.pem",
      [alice.certificate, pki.authority.certificate].map(certificatePem).join(""),
    );
    const content = put("content", tinyElf());
    for (const kind of ["plain", "full"] as const) {
      const signed = await sign(tinyElf(), {
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
    const signed = await sign(tinyElf(), { plain: true });
    const size = (await readContainer(bytesSource(signed)))!.cms.length;
    const info = signed.subarray(signed.length - 40, signed.length - 28);
    // sign-file 6.1 writes 00 00 02 00 00 00 00 00 and the length, big end first.
    assert.equal(toHex(info), `0000020000000000${size.toString(16).padStart(8, "0")}`);
    assert.deepEqual(signed.subarray(signed.length - 28), TRAILER_MAGIC);
  });
});
