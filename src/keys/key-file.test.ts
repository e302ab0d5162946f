// Private keys as files: what a file says without its secret, who can open it, and every file that was changed.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { parseInstant } from "../core/instant.ts";
import type { JsonObject } from "../core/json.ts";
import { openKeyFile, readKeyInfo, writeKeyFile } from "./key-file.ts";
import { publicKeyOf } from "./public-key.ts";

const [pair, other] = [generateKeyPairSync("ed25519"), generateKeyPairSync("ed25519")];
const publicKey = publicKeyOf(pair.publicKey, "ed25519");
let drawn = 0;
const random = { bytes: (length: number) => new Uint8Array(length).fill(++drawn) };
const write = (passphrase: string | null, privateKey = pair.privateKey): Uint8Array =>
  writeKeyFile(
    {
      name: "root-1",
      created: parseInstant("2026-11-21T04:00:00Z"),
      scheme: "ed25519",
      privateKey,
      passphrase,
    },
    random,
  );
const edit = (bytes: Uint8Array, change: (file: Record<string, JsonObject>) => unknown): Uint8Array => {
  const file = JSON.parse(fromUtf8(bytes)) as Record<string, JsonObject>;
  change(file);
  return toUtf8(JSON.stringify(file));
};
const message = toUtf8("to be signed");
const clear = write(null);
const wrapped = write("correct horse battery");

describe("a key file", () => {
  it("says who it is without its secret", () => {
    for (const [bytes, isWrapped] of [
      [clear, false],
      [wrapped, true],
    ] as const) {
      const info = readKeyInfo(bytes);
      assert.deepEqual(
        [info.name, info.created, info.scheme, info.publicKey.keyid, info.wrapped],
        ["root-1", "2026-11-21T04:00:00Z", "ed25519", publicKey.keyid, isWrapped],
      );
    }
  });

  it("in the clear opens without a passphrase, and signs", async () => {
    const signer = openKeyFile(clear, null);
    assert.ok(publicKey.verify(message, await signer.sign(message)));
  });

  it("under a passphrase opens with it only, however its letters are composed", async () => {
    const accented = write("caf\u00e9 \u212b five words");
    const signer = openKeyFile(accented, "cafe\u0301 \u00c5 five words");
    assert.ok(publicKey.verify(message, await signer.sign(message)));
    assert.throws(() => openKeyFile(wrapped, "correct horse batterz"), { code: "key/bad-passphrase" });
    assert.throws(() => openKeyFile(wrapped, null), { code: "key/passphrase-needed" });
    assert.ok(!fromUtf8(wrapped).includes("pkcs8"));
  });

  it("is not written under a passphrase that can be guessed", () => {
    assert.throws(() => write("seven77"), { code: "key/bad-passphrase" });
    // Letters are counted, not the halves that some consist of.
    assert.throws(() => write("😀".repeat(7)), { code: "key/bad-passphrase" });
    assert.ok(readKeyInfo(write("eight888")).wrapped);
  });

  it("is not written under a name that is none", () => {
    const wrong = { name: "../root", created: 0, scheme: "ed25519", passphrase: null } as const;
    assert.throws(() => writeKeyFile({ ...wrong, privateKey: pair.privateKey }, random), {
      code: "schema/invalid",
    });
  });
});

describe("a key file that was changed", () => {
  const foreign = JSON.parse(fromUtf8(write(null, other.privateKey))) as Record<string, JsonObject>;

  for (const [what, change, code] of [
    ["another key id", (file) => (file["keyid"] = foreign["keyid"]!), "key/mismatch"],
    ["another public half", (file) => (file["public"] = foreign["public"]!), "key/mismatch"],
    [
      "another scheme than its public half",
      (file) => Object.assign(file, { scheme: "ecdsa-sha2-nistp256" }),
      "key/mismatch",
    ],
    [
      "another private half (key substitution)",
      (file) => (file["private"] = foreign["private"]!),
      "key/mismatch",
    ],
    [
      "a private half that is none",
      (file) => (file["private"] = { form: "pkcs8", data: "AAAA" }),
      "key/malformed",
    ],
    ["one more member", (file) => (file["note"] = {}), "schema/invalid"],
  ] satisfies readonly (readonly [string, (file: Record<string, JsonObject>) => unknown, string])[]) {
    it(`to ${what} is refused`, () => {
      assert.throws(() => openKeyFile(edit(clear, change), null), { code });
    });
  }

  it("is refused by whoever only looks at it, too", () => {
    const changed = edit(clear, (file) => (file["keyid"] = foreign["keyid"]!));
    assert.throws(() => readKeyInfo(changed), { code: "key/mismatch" });
  });

  it("in how its passphrase was stretched does not open (downgrade)", () => {
    const weaker = edit(wrapped, (file) => (file["private"] = { ...file["private"]!, passes: 1 }));
    assert.throws(() => openKeyFile(weaker, "correct horse battery"), { code: "key/bad-passphrase" });
  });

  it("so that it would take the machine's memory is refused before it does", () => {
    const greedy = edit(wrapped, (file) => (file["private"] = { ...file["private"]!, memoryKiB: 1 << 21 }));
    assert.throws(() => openKeyFile(greedy, "correct horse battery"), { code: "schema/invalid" });
  });
});
