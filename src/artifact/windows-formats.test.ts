// Scripts, cabinets, installer packages and catalogs: signed, verified, replaced, joined, stamped, removed, spoiled; osslsigncode as witness.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import fc from "fast-check";
import { MINUTE } from "../core/instant.ts";
import { certificatePem } from "../der/x509.ts";
import { encoded } from "../der/reader.ts";
import { publisherPki, type Pki } from "../testing/publisher-pki.ts";
import { answerTimestamp } from "../testing/timestamp-authority.ts";
import { SCRIPTS, testStream, tinyCab, tinyCat, tinyMsi } from "../testing/tiny-windows-files.ts";
import { digest, type SigningHash } from "./cms-build.ts";
import { ArtifactError } from "./errors.ts";
import type { SignJob, SignOptions } from "./format.ts";
import { formatOf } from "./formats.ts";
import { makeSignature, type SignatureMaker } from "./make-signature.ts";
import type { FileReport } from "./report.ts";
import { readInstaller } from "./msi/installer.ts";
import { bytesSource, MemorySink } from "./source.ts";
import { parseTimestampReply, timestampRequest } from "./timestamp-request.ts";

const NOW = Date.UTC(2026, 10, 21);

type Row = {
  readonly name: string;
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly options?: SignOptions;
};

let pki: Pki;
let rows: readonly Row[];
let folder: string;

before(async () => {
  pki = await publisherPki({ now: NOW, key: "rsa2048" });
  folder = mkdtempSync(join(tmpdir(), "upkeep-formats-"));
  writeFileSync(join(folder, "key.pem"), pki.leaf.privateKey.export({ type: "pkcs8", format: "pem" }));
  const chain = [pki.leaf, pki.authority].map((holder) => certificatePem(holder.certificate));
  writeFileSync(join(folder, "chain.pem"), chain.join(""));
  writeFileSync(join(folder, "root.pem"), certificatePem(pki.root.certificate));
  const msi = await tinyMsi();
  rows = [
    ...Object.entries(SCRIPTS).map(([name, bytes]) => ({ name: `a script (${name})`, file: "x.ps1", bytes })),
    { name: "a cabinet", file: "x.cab", bytes: tinyCab("a.txt", new Uint8Array(1000).fill(65)) },
    { name: "an installer package", file: "x.msi", bytes: msi },
    { name: "an installer package of version 4", file: "x.msi", bytes: await tinyMsi(4) },
    {
      name: "an installer package with its metadata",
      file: "x.msi",
      bytes: msi,
      options: { installerMetadata: true },
    },
    { name: "a catalog", file: "x.cat", bytes: tinyCat() },
  ];
});
after(() => rmSync(folder, { recursive: true, force: true }));

const by = (): SignatureMaker => ({
  certificate: pki.leaf.certificate,
  chain: [pki.authority.certificate],
  signer: pki.leaf.signer,
  opus: { name: "Example", url: "https://example.org/" },
});

async function stampOver(value: Uint8Array): Promise<Uint8Array> {
  const request = timestampRequest(digest("sha256", value), "sha256", Uint8Array.of(1, 2, 3));
  const reply = await answerTimestamp(request, pki.stamper, [], NOW - MINUTE);
  return encoded(parseTimestampReply(reply.body));
}

type Wish = {
  readonly mode?: SignJob["mode"];
  readonly hash?: SigningHash;
  readonly maker?: Partial<SignatureMaker>;
};

async function sign(row: Row, bytes: Uint8Array, wish: Wish = {}): Promise<Uint8Array> {
  const sink = new MemorySink();
  const source = bytesSource(bytes);
  const format = await formatOf(source, row.file);
  await format.sign({
    source,
    sink,
    mode: wish.mode ?? "new",
    hash: wish.hash ?? "sha256",
    ...(row.options === undefined ? {} : { options: row.options }),
    makeSignature: (what) => makeSignature(what, { ...by(), ...wish.maker }),
  });
  return sink.bytes;
}

async function verify(row: Row, bytes: Uint8Array, now = NOW): Promise<FileReport> {
  const source = bytesSource(bytes);
  const format = await formatOf(source, row.file);
  return format.verify(source, { roots: [pki.root.certificate], now });
}

const complaints = (report: FileReport): string =>
  [...report.findings, ...report.signatures.flatMap((one) => one.findings)]
    .filter((finding) => finding.level === "error")
    .map((finding) => finding.code)
    .join(" ");

/** Runs the witness at the time of the test's certificates; they begin before today and end long after. */
function osslsigncode(...args: readonly string[]): { ok: boolean; text: string } {
  const { status, stdout, stderr } = spawnSync("osslsigncode", args, { encoding: "utf8", cwd: folder });
  return { ok: status === 0, text: `${stdout}${stderr}` };
}
const witness =
  spawnSync("osslsigncode", ["--version"]).error === undefined
    ? {}
    : { skip: "osslsigncode is not installed" };

describe("formats of Windows", () => {
  it("are signed, and say who signed them", async () => {
    for (const row of rows) {
      for (const hash of ["sha256", "sha384", "sha512"] as const) {
        const report = await verify(row, await sign(row, row.bytes, { hash }));
        assert.equal(report.valid, true, `${row.name}: ${complaints(report)}`);
        assert.equal(report.signatures[0]!.hash, hash);
        assert.equal(report.signatures[0]!.opus.name, "Example");
      }
    }
  });

  it("are refused unsigned", async () => {
    for (const row of rows) {
      const report = await verify(row, row.bytes);
      assert.deepEqual([report.signed, report.valid], [false, false], row.name);
    }
  });

  it("are not signed twice unless told how", async () => {
    for (const row of rows) {
      const signed = await sign(row, row.bytes);
      await assert.rejects(sign(row, signed), { code: "artifact/already-signed" }, row.name);
      assert.deepEqual(await sign(row, signed, { mode: "replace" }), signed, row.name);
      const both = await verify(row, await sign(row, signed, { mode: "append" }));
      assert.deepEqual([both.valid, both.signatures.length], [true, 2], `${row.name}: ${complaints(both)}`);
    }
  });

  it("are given back as they were", async () => {
    for (const row of rows) {
      const sink = new MemorySink();
      const source = bytesSource(await sign(row, row.bytes));
      await (await formatOf(source, row.file)).remove(source, sink);
      assert.deepEqual(sink.bytes, row.bytes, row.name);
      await assert.rejects(
        (await formatOf(source, row.file)).remove(bytesSource(row.bytes), new MemorySink()),
        {
          code: "artifact/not-signed",
        },
      );
    }
  });

  it("keep their validity beyond the certificate with a time stamp, put on at once or later", async () => {
    for (const row of rows) {
      const later = NOW + 1000 * 86_400_000;
      const plain = await sign(row, row.bytes);
      assert.match(complaints(await verify(row, plain, later)), /chain\/expired/, row.name);
      const sink = new MemorySink();
      await (
        await formatOf(bytesSource(plain), row.file)
      ).stamp({ source: bytesSource(plain), sink, makeToken: stampOver });
      for (const stamped of [await sign(row, row.bytes, { maker: { stamp: stampOver } }), sink.bytes]) {
        const report = await verify(row, stamped, later);
        assert.equal(report.valid, true, `${row.name}: ${complaints(report)}`);
        assert.equal(report.signatures[0]!.signedAt, NOW - MINUTE);
      }
    }
  });

  it("are refused with another file's signature", async () => {
    const script = rows[0]!;
    const other = await sign(script, SCRIPTS["line feeds, no last one"]!);
    const block = Buffer.from(other).subarray(SCRIPTS["line feeds, no last one"]!.length);
    const lifted = new Uint8Array(Buffer.concat([script.bytes, block]));
    assert.match(complaints(await verify(script, lifted)), /signature\/file-changed/);
  });

  it("are refused when a byte of their content is changed, whichever it is", async () => {
    for (const row of rows.filter((one) => one.file !== "x.msi")) {
      const signed = await sign(row, row.bytes);
      const end = row.file === "x.cab" ? row.bytes.length + 24 : row.file === "x.cat" ? 0 : row.bytes.length;
      for (let at = 0; at < end; at++) {
        const spoiled = signed.slice();
        spoiled[at]! ^= 0x01;
        assert.equal(await believed(row, spoiled), false, `${row.name}, byte ${at}`);
      }
    }
  });

  it("are refused when a byte of a stream is changed, or something is appended to the package (CVE-2020-1464)", async () => {
    for (const row of rows.filter((one) => one.file === "x.msi")) {
      const signed = await sign(row, row.bytes);
      const { file } = await readInstaller(bytesSource(signed));
      const streams = file.root.children.flatMap((child) =>
        child.kind === "storage" ? child.children : [child],
      );
      let changed = 0;
      for (const stream of streams) {
        assert.equal(stream.kind, "stream");
        for (const piece of stream.kind === "stream" ? stream.pieces : []) {
          if (piece instanceof Uint8Array) continue;
          const spoiled = signed.slice();
          spoiled[piece.offset + (piece.size >> 1)]! ^= 1;
          assert.equal(await believed(row, spoiled), false, row.name);
          changed++;
        }
      }
      assert.ok(changed > 10);
      for (const appended of ["PK\x03\x04 a program of another kind", "x".repeat(5000)]) {
        const glued = new Uint8Array(Buffer.concat([signed, Buffer.from(appended)]));
        assert.match(complaints(await verify(row, glued)), /msi\/trailing-bytes/, row.name);
      }
    }
  });

  it("never answer spoiled bytes with anything but their own error", async () => {
    for (const row of rows) {
      const signed = await sign(row, row.bytes);
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat(signed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 }),
          fc.option(fc.nat(signed.length), { nil: signed.length }),
          async (flips, cut) => {
            const spoiled = signed.slice(0, cut);
            for (const [at, by_] of flips) if (at < cut) spoiled[at] = by_;
            await believed(row, spoiled);
          },
        ),
        { numRuns: 120 },
      );
    }
  });

  it("are told apart by what is in them, and what is not supported is named", async () => {
    const name = async (bytes: Uint8Array, file: string): Promise<string> =>
      (await formatOf(bytesSource(bytes), file)).name;
    assert.deepEqual(
      await Promise.all(
        rows.map((row) => name(row.bytes, row.file.endsWith("ps1") ? row.file : "no-extension")),
      ),
      ["powershell", "powershell", "powershell", "powershell", "cab", "msi", "msi", "msi", "cat"],
    );
    await assert.rejects(name(Uint8Array.of(0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1), "program"), {
      code: "artifact/unsupported",
      message: /Mach-O/,
    });
    await assert.rejects(name(Uint8Array.of(0x50, 0x4b, 3, 4), "App.msix"), {
      code: "artifact/unsupported",
      message: /MSIX/,
    });
    await assert.rejects(name(Uint8Array.of(1, 2, 3), "data.bin"), { code: "artifact/unknown-format" });
  });
});

async function believed(row: Row, bytes: Uint8Array): Promise<boolean> {
  try {
    return (await verify(row, bytes)).valid;
  } catch (error) {
    assert.ok(error instanceof ArtifactError, `${row.name}: ${String(error)}`);
    return false;
  }
}

describe("formats of Windows, as osslsigncode sees them", { ...witness }, () => {
  it("are accepted as we sign them", async () => {
    for (const row of rows) {
      const signed = await sign(row, row.bytes);
      writeFileSync(join(folder, row.file), signed);
      const { ok, text } = osslsigncode("verify", "-CAfile", "root.pem", "-in", row.file);
      assert.ok(ok && /Signature verification: ok/.test(text), `${row.name}: ${text}`);
      assert.doesNotMatch(text, /MISMATCH|mismatch/, row.name);
    }
  });

  it("are accepted by us as it signs them", async () => {
    for (const row of rows) {
      const [unsigned, signed] = [`unsigned-${row.file}`, `signed-${row.file}`];
      writeFileSync(join(folder, unsigned), row.bytes);
      rmSync(join(folder, signed), { force: true });
      const extended = row.options?.installerMetadata === true ? ["-add-msi-dse"] : [];
      const keys = ["-certs", "chain.pem", "-key", "key.pem", "-h", "sha256", ...extended];
      const { ok, text } = osslsigncode("sign", ...keys, "-in", unsigned, "-out", signed);
      assert.ok(ok, `${row.name}: ${text}`);
      const bytes = new Uint8Array(readFileSync(join(folder, signed)));
      // Its signature joins ours.
      const report = await verify(row, bytes);
      assert.equal(report.valid, true, `${row.name}: ${complaints(report)}`);
      const both = await verify(row, await sign(row, bytes, { mode: "append" }));
      assert.deepEqual([both.valid, both.signatures.length], [true, 2], `${row.name}: ${complaints(both)}`);
    }
  });

  it("are the same unsigned, whoever removed the signature", async () => {
    for (const row of rows.filter((one) => one.file !== "x.cat" && one.file !== "x.msi")) {
      writeFileSync(join(folder, row.file), await sign(row, row.bytes));
      const out = `removed-${row.file}`;
      rmSync(join(folder, out), { force: true });
      assert.ok(osslsigncode("remove-signature", "-in", row.file, "-out", out).ok, row.name);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, out))), row.bytes, row.name);
    }
  });

  it("cover the names in an installer package with its metadata only", async () => {
    const renamed = await tinyMsi(3, [testStream("Name1", new Uint8Array(10))]);
    const [open, closed] = rows.filter((row) => row.file === "x.msi" && row.bytes === rows[5]!.bytes);
    for (const [row, wanted] of [
      [open!, true],
      [closed!, false],
    ] as const) {
      const signed = Buffer.from(await sign(row, renamed));
      const at = signed.indexOf(Buffer.from("Name1", "utf16le"));
      signed.write("Name2", at, "utf16le");
      assert.equal((await verify(row, new Uint8Array(signed))).valid, wanted, row.name);
    }
  });
});
