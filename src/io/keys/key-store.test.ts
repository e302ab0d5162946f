// Tests of key files and of the folder that holds them.

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { openKeyFile, readKeyInfo, writeKeyFile } from "../../keys/key-file.ts";
import type { Scheme } from "../../keys/scheme.ts";
import { systemDisk } from "../system/disk.ts";
import { generateKey, openKeyStore } from "./key-store.ts";
import { systemRandom } from "../system/random.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-keys-"));
after(() => rmSync(root, { recursive: true }));
const created = Date.UTC(2026, 10, 21);
const store = (folder: string, passphrase: string | null = null) =>
  openKeyStore(join(root, folder), { disk: systemDisk, random: systemRandom, ask: async () => passphrase });
const file = (passphrase: string | null, name = "root-1") =>
  writeKeyFile(
    { name, created, scheme: "ed25519", privateKey: generateKey("ed25519"), passphrase },
    systemRandom,
  );
const edited = (bytes: Uint8Array, change: (file: { [name: string]: unknown }) => void): Uint8Array => {
  const value = JSON.parse(Buffer.from(bytes).toString()) as { [name: string]: unknown };
  change(value);
  return toUtf8(JSON.stringify(value));
};
const message = toUtf8("a message");

describe("key files", () => {
  const schemes: readonly Scheme[] = [
    "ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsassa-pss-sha256",
    "ml-dsa-44/1",
    "ml-dsa-65/1",
    "ml-dsa-87/1",
  ];
  for (const scheme of schemes) {
    it(`keep a key for ${scheme} that still signs after reading`, async () => {
      const privateKey = generateKey(scheme);
      const bytes = writeKeyFile({ name: "k", created, scheme, privateKey, passphrase: null }, systemRandom);
      const signature = await openKeyFile(bytes, null).sign(message);
      assert.equal(readKeyInfo(bytes).publicKey.verify(message, signature), true);
      assert.equal(readKeyInfo(bytes).publicKey.verify(toUtf8("another"), signature), false);
    });
  }

  it("open a wrapped key with its passphrase only, however its letters are composed", async () => {
    const bytes = file("prunes in Zürich".normalize("NFC"));
    assert.equal(readKeyInfo(bytes).wrapped, true);
    await openKeyFile(bytes, "prunes in Zürich".normalize("NFD")).sign(message);
    assert.throws(() => openKeyFile(bytes, "prunes in Bern"), { code: "key/bad-passphrase" });
    assert.throws(() => openKeyFile(bytes, null), { code: "key/passphrase-needed" });
    assert.throws(() => file("short"), { code: "key/bad-passphrase" });
  });

  it("refuse a wrapped key whose secret, parameters or identity were changed", () => {
    const [bytes, other] = [file("correct horse battery"), file("correct horse battery")];
    const flipped = edited(bytes, (value) => {
      const secret = value["private"] as { data: string };
      const data = Buffer.from(secret.data, "base64");
      data[20]! ^= 1;
      secret.data = data.toString("base64");
    });
    assert.throws(() => openKeyFile(flipped, "correct horse battery"), { code: "key/bad-passphrase" });
    const exchanged = edited(bytes, (value) => {
      value["private"] = (JSON.parse(Buffer.from(other).toString()) as { private: unknown }).private;
    });
    assert.throws(() => openKeyFile(exchanged, "correct horse battery"), { code: "key/bad-passphrase" });
    const costly = edited(bytes, (value) => {
      (value["private"] as { memoryKiB: number }).memoryKiB = 2 ** 24;
    });
    assert.throws(() => openKeyFile(costly, "correct horse battery"), { code: "schema/invalid" });
  });

  it("refuse a key whose two halves do not belong together", () => {
    const [bytes, other] = [file(null), file(null)];
    const mixed = edited(bytes, (value) => {
      value["private"] = (JSON.parse(Buffer.from(other).toString()) as { private: unknown }).private;
    });
    assert.throws(() => openKeyFile(mixed, null), { code: "key/mismatch" });
    const renamed = edited(bytes, (value) => {
      value["keyid"] = "0".repeat(64);
    });
    assert.throws(() => readKeyInfo(renamed), { code: "key/mismatch" });
  });
});

describe("the key store", () => {
  it("makes keys that only their owner may read, and never over an existing one", async () => {
    const keys = store("a");
    const info = await keys.create({ name: "root-1", scheme: "ed25519", passphrase: null, created });
    assert.equal(statSync(join(root, "a/root-1.key.json")).mode & 0o777, 0o600);
    assert.equal(statSync(join(root, "a")).mode & 0o777, 0o700);
    await assert.rejects(keys.create({ name: "root-1", scheme: "ed25519", passphrase: null, created }), {
      code: "key/exists",
    });
    for (const name of [info.name, info.publicKey.keyid, info.publicKey.keyid.slice(0, 8)])
      assert.equal((await keys.find(name)).publicKey.keyid, info.publicKey.keyid);
    await assert.rejects(keys.find("root-2"), { code: "key/not-found" });
    await assert.rejects(keys.create({ name: "../x", scheme: "ed25519", passphrase: null, created }), {
      code: "key/malformed",
    });
  });

  it("refuses a key file that others may read", async () => {
    const keys = store("b");
    await keys.create({ name: "online", scheme: "ed25519", passphrase: null, created });
    chmodSync(join(root, "b/online.key.json"), 0o640);
    await assert.rejects(keys.signer("online"), { code: "key/readable-by-others" });
  });

  it("asks for a passphrase once per key, and signs with the keys that are here", async () => {
    let asked = 0;
    const keys = openKeyStore(join(root, "c"), {
      disk: systemDisk,
      random: systemRandom,
      ask: async () => {
        asked++;
        return "correct horse battery";
      },
    });
    const info = await keys.create({
      name: "x",
      scheme: "ed25519",
      passphrase: "correct horse battery",
      created,
    });
    assert.equal(asked, 0, "a key that was just made is open");
    const again = openKeyStore(join(root, "c"), {
      disk: systemDisk,
      random: systemRandom,
      ask: async () => {
        asked++;
        return "correct horse battery";
      },
    });
    await again.signer("x");
    const here = await again.signersFor([info.publicKey, readKeyInfo(file(null)).publicKey]);
    assert.deepEqual(
      here.map((signer) => signer.publicKey.keyid),
      [info.publicKey.keyid],
    );
    assert.equal(asked, 1);
  });

  it("uses the file's name, so that a copied key keeps working under its new name", async () => {
    const keys = store("d");
    await keys.create({ name: "old", scheme: "ed25519", passphrase: null, created });
    writeFileSync(join(root, "d/new.key.json"), readFileSync(join(root, "d/old.key.json")), { mode: 0o600 });
    rmSync(join(root, "d/old.key.json"));
    assert.equal((await keys.find("new")).name, "new");
  });
});

describe("a key file with a broken line", () => {
  it("is named, whatever the line was, and is no defect of the program", async () => {
    const keys = store("broken");
    await keys.create({ name: "one", scheme: "ed25519", passphrase: null, created });
    const path = join(root, "broken/one.key.json");
    const whole = readFileSync(path, "utf8");
    for (const [from, to] of [
      ['"created"', '"creat'],
      ['"format"', '"formal"'],
      ["\n", "\u0000\n"],
    ] as const) {
      writeFileSync(path, whole.replace(from, to), { mode: 0o600 });
      await assert.rejects(
        store("broken").list(),
        { code: "key/malformed", message: new RegExp(path) },
        JSON.stringify(from),
      );
    }
    writeFileSync(path, whole.replace(/"data": "../, '"data": "!!'), { mode: 0o600 });
    await assert.rejects(store("broken").signer("one"), { code: "key/malformed", message: new RegExp(path) });
  });
});
