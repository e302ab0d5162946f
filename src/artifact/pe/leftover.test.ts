// Tests of a certificate entry that another tool left behind: no signature, cleared by signing and removing; and of what removing gives back.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { equalBytes } from "../../core/bytes.ts";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { codes, grown, make, now, sign, verify, viewOf } from "../../testing/pe-signing.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import { ArtifactError } from "../errors.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { peFormat } from "./format.ts";
import { readLayout } from "./layout.ts";
import { removePe, signPe } from "./sign.ts";

let pki: Pki;
before(async () => {
  pki = await publisherPki({ now });
});

const removed = async (bytes: Uint8Array): Promise<{ bytes: Uint8Array; notes: readonly string[] }> => {
  const sink = new MemorySink();
  const notes = await removePe(bytesSource(bytes), sink);
  return { bytes: sink.bytes, notes };
};
const layoutOf = (bytes: Uint8Array): ReturnType<typeof readLayout> => readLayout(bytesSource(bytes));

/** What the tools leave, each made from a signed program. */
const REMAINS: { readonly [what: string]: (signed: Uint8Array) => Promise<Uint8Array> } = {
  "points past the end of the file": async (signed) =>
    signed.slice(0, (await layoutOf(signed)).table!.offset),
  "points to a table that was cut in the middle": async (signed) =>
    signed.slice(0, (await layoutOf(signed)).table!.offset + 40),
  "points to zeros": async (signed) => signed.slice().fill(0, (await layoutOf(signed)).table!.offset),
  "has a size and no place": async (signed) => {
    const { table, directoryOffset } = await layoutOf(signed);
    const bytes = signed.slice(0, table!.offset);
    viewOf(bytes).setUint32(directoryOffset, 0, true);
    return bytes;
  },
  "points into a section": async (signed) => {
    const { table, directoryOffset } = await layoutOf(signed);
    const bytes = signed.slice(0, table!.offset);
    viewOf(bytes).setUint32(directoryOffset, bytes.length - 64, true);
    viewOf(bytes).setUint32(directoryOffset + 4, 64, true);
    return bytes;
  },
};

describe("an entry that", () => {
  for (const [what, make_] of Object.entries(REMAINS)) {
    const left = async (): Promise<Uint8Array> => make_(await sign(tinyPe(), pki));

    it(`${what} is no signature: not for --skip-signed, and not for verify, which names it`, async () => {
      const bytes = await left();
      assert.equal(await peFormat.isSigned(bytesSource(bytes)), false);
      const report = await verify(bytes, pki);
      assert.equal(report.signed, false);
      assert.equal(report.valid, false);
      assert.deepEqual(codes(report), ["pe/leftover-entry", "pe/not-signed"]);
    });

    it(`${what} is cleared by sign, new and --replace, which say so`, async () => {
      for (const mode of ["new", "replace", "append"] as const) {
        const sink = new MemorySink();
        const outcome = await signPe({
          source: bytesSource(await left()),
          sink,
          mode,
          hash: "sha256",
          makeSignature: (wanted) => make(wanted, pki, {}),
        });
        assert.match(outcome.warnings?.join() ?? "", /left the entry behind\. It is cleared\./);
        const report = await verify(sink.bytes, pki);
        assert.deepEqual(codes(report), []);
        assert.equal(report.valid, true);
      }
    });

    it(`${what} is cleared by remove, which says so`, async () => {
      const { bytes, notes } = await removed(await left());
      const { table, leftover } = await layoutOf(bytes);
      assert.deepEqual([table, leftover], [null, null]);
      assert.match(notes.join(), /left the entry behind\. It is cleared\./);
      await assert.rejects(
        removed(bytes),
        (error) => error instanceof ArtifactError && error.code === "artifact/not-signed",
      );
    });
  }

  it("points into a section takes no byte of the program with it", async () => {
    const bytes = await REMAINS["points into a section"]!(await sign(tinyPe(), pki));
    assert.equal((await removed(bytes)).bytes.length, tinyPe().length);
  });

  it("points to zeros behind the program takes the zeros with it", async () => {
    const bytes = await REMAINS["points to zeros"]!(await sign(tinyPe(), pki));
    assert.equal((await removed(bytes)).bytes.length, tinyPe().length);
  });

  it("points to something that is neither zeros nor a signature is judged as a table: nothing is thrown away unseen", async () => {
    const signed = await sign(tinyPe(), pki);
    const { table } = await layoutOf(signed);
    const bytes = signed.slice();
    bytes[table!.offset + 4] = 9;
    const report = await verify(bytes, pki);
    assert.equal(report.signed, true);
    assert.deepEqual(codes(report), ["pe/entry-kind"]);
  });

  it("is 0, 0 is none", async () => assert.equal((await layoutOf(tinyPe())).leftover, null));
});

describe("removing a signature", () => {
  it("keeps a checksum of 0, which the signing tool left, and gives back every byte", async () => {
    const original = tinyPe();
    const signed = await sign(original, pki);
    viewOf(signed).setUint32((await layoutOf(signed)).checksumOffset, 0, true);
    const { bytes, notes } = await removed(signed);
    assert.ok(equalBytes(bytes, original));
    assert.deepEqual(notes, []);
  });

  it("takes zeros away that only filled up to the table", async () => {
    const original = tinyPe({ sections: [1024, 509] });
    const signed = await sign(original, pki);
    viewOf(signed).setUint32((await layoutOf(signed)).checksumOffset, 0, true);
    assert.ok(equalBytes((await removed(signed)).bytes, original));
  });

  it("keeps fewer than eight bytes behind the last section that are not all zero", async () => {
    const original = grown(tinyPe(), 5).fill(7, tinyPe().length);
    const signed = await sign(original, pki);
    assert.equal((await removed(signed)).bytes.length, original.length + 3);
  });

  it("says what it cannot know: the checksum, and zeros at the end of what was appended", async () => {
    const { notes } = await removed(await sign(grown(tinyPe(), 21).fill(7, tinyPe().length), pki));
    assert.equal(notes.length, 2);
    assert.match(notes[0]!, /^The checksum is that of the file as it is now\./);
    assert.match(notes[1]!, /^The zeros at the end may be padding/);
    assert.equal((await removed(await sign(tinyPe(), pki))).notes.length, 1);
  });
});
