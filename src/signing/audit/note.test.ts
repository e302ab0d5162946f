// Tests of signed notes and checkpoints.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { sha256 } from "../../core/digest.ts";
import { openCheckpoint, signCheckpoint } from "./checkpoint.ts";
import { formatNote, formatNoteKey, noteKeyFromSpki, openNote, parseNoteKey } from "./note.ts";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const key = noteKeyFromSpki(
  "signer.example/log",
  new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
);
const signText = (text: string): Uint8Array => new Uint8Array(sign(null, toUtf8(text), privateKey));

describe("signed notes", () => {
  it("opens the published example of Go's note package", () => {
    const known = parseNoteKey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    const text =
      "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const note = `${text}\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n`;
    assert.equal(openNote(toUtf8(note), known), text);
  });

  it("spells a key one way and reads it back", () => {
    assert.deepEqual(parseNoteKey(formatNoteKey(key)), key);
    assert.throws(() => parseNoteKey(formatNoteKey(key).replace("signer", "signor")), {
      code: "signing/bad-note",
    });
  });

  it("refuses a changed text, a missing signature and one of an unknown key", () => {
    const note = formatNote("one\n", [{ key, signature: signText("one\n") }]);
    assert.equal(openNote(toUtf8(note), key), "one\n");
    for (const bad of [
      note.replace("one", "two"),
      "one\n\n",
      note.replace("signer.example/log ", "other "),
      note.slice(0, -1),
    ]) {
      assert.throws(() => openNote(toUtf8(bad), key), { code: "signing/bad-note" });
    }
  });

  it("refuses a checkpoint of another log", async () => {
    const checkpoint = { origin: "elsewhere", size: 3, root: sha256(toUtf8("x")) };
    const note = await signCheckpoint(
      checkpoint,
      key,
      async (m) => new Uint8Array(sign(null, m, privateKey)),
    );
    assert.throws(() => openCheckpoint(toUtf8(note), key), { code: "signing/bad-note" });
    const own = await signCheckpoint(
      { ...checkpoint, origin: key.name },
      key,
      async (m) => new Uint8Array(sign(null, m, privateKey)),
    );
    assert.equal(openCheckpoint(toUtf8(own), key).size, 3);
  });
});
