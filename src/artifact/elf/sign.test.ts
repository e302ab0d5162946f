// Signing ELF files: what the signature says, who may join it, and what is refused before it is made.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { toHex } from "../../core/bytes.ts";
import { DAY } from "../../core/instant.ts";
import { RunningMerkle } from "../../core/digest.ts";
import { encoded } from "../../der/reader.ts";
import { answerTimestamp } from "../../testing/timestamp-authority.ts";
import { tinyElf } from "../../testing/tiny-elf.ts";
import { digest } from "../cms-build.ts";
import { writeRewrite } from "../rewrite.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { parseTimestampReply, timestampRequest } from "../timestamp-request.ts";
import { elfFormat } from "./format.ts";
import { removeFromElf } from "./sign.ts";
import { requireElf } from "./verify.ts";
import { ELF_IDENTITY, elfPublisher, type ElfPublisher } from "../../testing/elf-publisher.ts";

const NOW = Date.UTC(2026, 10, 21);

let elf: ElfPublisher;
before(async () => {
  elf = await elfPublisher(NOW);
});

describe("signing an ELF file", () => {
  it("says who signed what, and for which platform", async () => {
    const report = await requireElf(bytesSource(await elf.sign(tinyElf())), elf.policy);
    assert.equal(report.form, "full");
    assert.match(report.signers[0]!.name!, /CN=Alice/);
    assert.deepEqual(
      { ...report.manifest!, merkleRoot: "" },
      { ...ELF_IDENTITY, os: "linux", arch: "x64", length: tinyElf().length, merkleRoot: "" },
    );
  });

  it("signs with every kind of key", async () => {
    for (const key of ["ed25519", "p256", "p384"] as const) {
      const one = await elf.person(key, key);
      const report = await requireElf(bytesSource(await elf.sign(tinyElf(), { signers: [one] })), elf.policy);
      assert.equal(report.signers[0]!.believed, true);
    }
  });

  it("keeps the file's own bytes, and gives them back", async () => {
    const file = tinyElf();
    const signed = await elf.sign(file);
    assert.deepEqual(signed.subarray(0, file.length), file);
    const sink = new MemorySink();
    await writeRewrite(bytesSource(signed), await removeFromElf(bytesSource(signed)), sink);
    assert.deepEqual(sink.bytes, file);
  });

  it("has the Merkle root that pieces of a release have", async () => {
    const file = tinyElf({ sections: [[".text", 1, new Uint8Array(2_500_000).fill(7)]] });
    const { manifest } = await requireElf(bytesSource(await elf.sign(file)), elf.policy);
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
    const { manifest } = await requireElf(bytesSource(await elf.sign(file)), elf.policy);
    assert.equal(manifest!.buildId, toHex(Buffer.from("builtby!")));
  });

  it("takes several signers into one signature, then and later", async () => {
    const bob = await elf.person("Bob", "ed25519");
    const carol = await elf.person("Carol", "p256");
    const two = await elf.sign(tinyElf(), { signers: [elf.alice, bob] });
    const three = await elf.sign(two, { signers: [carol], mode: "append" });
    const report = await requireElf(bytesSource(three), elf.policy);
    assert.deepEqual(report.signers.map((signer) => /CN=(\w+)/.exec(signer.name!)![1]).sort(), [
      "Alice",
      "Bob",
      "Carol",
    ]);
    await assert.rejects(elf.sign(three, { signers: [bob], mode: "append" }), {
      code: "artifact/already-signed",
    });
    await assert.rejects(elf.sign(two, { signers: [carol], mode: "append", release: 8 }), {
      code: "artifact/bad-manifest",
    });
  });

  it("is valid beyond the certificate with a time stamp, put on at once or later", async () => {
    const later = { ...elf.policy, now: NOW + 1000 * DAY };
    const token = async (value: Uint8Array): Promise<Uint8Array> => {
      const request = timestampRequest(digest("sha256", value), "sha256", Uint8Array.of(5));
      return encoded(parseTimestampReply((await answerTimestamp(request, elf.pki.stamper, [], NOW)).body));
    };
    const plain = await elf.sign(tinyElf());
    await elf.refused(plain, "artifact/bad-signature", later);
    const sink = new MemorySink();
    await elfFormat.stamp({ source: bytesSource(plain), sink, makeToken: token });
    for (const stamped of [sink.bytes, await elf.sign(tinyElf(), { stamp: token })]) {
      const report = await requireElf(bytesSource(stamped), { ...later, requireTimestamp: true });
      assert.equal(report.signers[0]!.timestamp!.time, NOW);
    }
  });

  it("refuses a signed file unless it is told what to do with the signature", async () => {
    const signed = await elf.sign(tinyElf());
    await assert.rejects(elf.sign(signed), { code: "artifact/already-signed" });
    await requireElf(bytesSource(await elf.sign(signed, { mode: "replace" })), elf.policy);
  });

  it("refuses an unstripped file where stripped ones are demanded, and says so otherwise (M15)", async () => {
    for (const name of [".symtab", ".debug_info", ".zdebug_line"]) {
      const file = tinyElf({ sections: [[name, name === ".symtab" ? 2 : 1, new Uint8Array(48)]] });
      await assert.rejects(elf.sign(file, { requireStripped: true }), { code: "artifact/not-stripped" });
      const signed = await elf.sign(file);
      await requireElf(bytesSource(signed), elf.policy);
      await elf.refused(signed, "artifact/not-stripped", { requireStripped: true });
    }
  });
});
