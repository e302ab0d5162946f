// HPKE as RFC 9180 and another implementation have it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { fromHex, toHex, toUtf8 } from "../core/bytes.ts";
import { scriptedRandom } from "../testing/agent-world.ts";
import { hpkeKeysOf, hpkeOpen, hpkeSeal, publicKeyOf } from "./hpke.ts";

/** RFC 9180 appendix A.1.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode, sequence number 0. */
const A_1_1 = {
  info: "4f6465206f6e2061204772656369616e2055726e",
  ikmE: "7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234",
  pkEm: "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
  skEm: "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
  ikmR: "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037",
  pkRm: "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
  skRm: "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
  pt: "4265617574792069732074727574682c20747275746820626561757479",
  aad: "436f756e742d30",
  ct: "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
};

const random = scriptedRandom(9);
const terms = { info: toUtf8("a purpose"), aad: toUtf8("a header") };
const text = toUtf8("look");

describe("HPKE", () => {
  it("derives the keys of the RFC's vector A.1.1", () => {
    const [sender, recipient] = [hpkeKeysOf(fromHex(A_1_1.ikmE)), hpkeKeysOf(fromHex(A_1_1.ikmR))];
    assert.deepEqual(
      [sender.privateKey, sender.publicKey, recipient.privateKey, recipient.publicKey].map(toHex),
      [A_1_1.skEm, A_1_1.pkEm, A_1_1.skRm, A_1_1.pkRm],
    );
  });

  it("seals and opens the RFC's vector A.1.1", () => {
    const of = { info: fromHex(A_1_1.info), aad: fromHex(A_1_1.aad), aead: "aes-128-gcm" } as const;
    const sealed = hpkeSeal(fromHex(A_1_1.pkRm), fromHex(A_1_1.ikmE), fromHex(A_1_1.pt), of);
    assert.deepEqual([toHex(sealed.enc), toHex(sealed.ciphertext)], [A_1_1.pkEm, A_1_1.ct]);
    assert.equal(toHex(hpkeOpen(fromHex(A_1_1.skRm), sealed, of)!), A_1_1.pt);
  });

  it("understands @hpke/core and is understood by it", async () => {
    const suite = new CipherSuite({
      kem: new DhkemX25519HkdfSha256(),
      kdf: new HkdfSha256(),
      aead: new Aes256Gcm(),
    });
    const buffer = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;
    const own = hpkeKeysOf(random.bytes(32));
    const recipientPublicKey = await suite.kem.deserializePublicKey(buffer(own.publicKey));
    const theirs = await suite.seal(
      { recipientPublicKey, info: buffer(terms.info) },
      buffer(text),
      buffer(terms.aad),
    );
    const came = { enc: new Uint8Array(theirs.enc), ciphertext: new Uint8Array(theirs.ct) };
    assert.deepEqual(hpkeOpen(own.privateKey, came, terms), text);

    const pair = await suite.kem.deriveKeyPair(buffer(random.bytes(32)));
    const publicKey = new Uint8Array(await suite.kem.serializePublicKey(pair.publicKey));
    const ours = hpkeSeal(publicKey, random.bytes(32), text, terms);
    const opened = await suite.open(
      { recipientKey: pair.privateKey, enc: buffer(ours.enc), info: buffer(terms.info) },
      buffer(ours.ciphertext),
      buffer(terms.aad),
    );
    assert.deepEqual(new Uint8Array(opened), text);
  });

  it("opens nothing with another key, other terms, or a flipped bit anywhere", () => {
    const own = hpkeKeysOf(random.bytes(32));
    const sealed = hpkeSeal(own.publicKey, random.bytes(32), text, terms);
    assert.deepEqual(hpkeOpen(own.privateKey, sealed, terms), text);
    assert.equal(hpkeOpen(hpkeKeysOf(random.bytes(32)).privateKey, sealed, terms), null);
    assert.equal(hpkeOpen(own.privateKey, sealed, { ...terms, info: toUtf8("another purpose") }), null);
    assert.equal(hpkeOpen(own.privateKey, sealed, { ...terms, aad: toUtf8("another header") }), null);
    for (const part of ["enc", "ciphertext"] as const)
      for (let at = 0; at < sealed[part].length * 8; at++) {
        const bytes = new Uint8Array(sealed[part]);
        bytes[at >> 3]! ^= 1 << (at & 7);
        // The highest bit of an X25519 point is not part of it (RFC 7748 section 5), and is part of the context all the same.
        assert.equal(hpkeOpen(own.privateKey, { ...sealed, [part]: bytes }, terms), null, `${part} ${at}`);
      }
  });

  it("opens nothing that a point of small order, or too few bytes, came with", () => {
    const own = hpkeKeysOf(random.bytes(32));
    const sealed = hpkeSeal(own.publicKey, random.bytes(32), text, terms);
    for (const enc of [new Uint8Array(32), Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 1 : 0))])
      assert.equal(hpkeOpen(own.privateKey, { ...sealed, enc }, terms), null);
    assert.equal(hpkeOpen(own.privateKey, { ...sealed, enc: sealed.enc.subarray(1) }, terms), null);
    assert.equal(hpkeOpen(own.privateKey, { ...sealed, ciphertext: new Uint8Array(15) }, terms), null);
  });

  it("refuses keys that are none", () => {
    const secret = random.bytes(32);
    for (const key of [new Uint8Array(32), new Uint8Array(31), new Uint8Array(0)])
      assert.throws(() => hpkeSeal(key, secret, text, terms), { code: "key/malformed" });
    assert.throws(() => publicKeyOf(new Uint8Array(33)), { code: "key/malformed" });
    assert.throws(() => hpkeKeysOf(new Uint8Array(31)), { code: "key/malformed" });
  });
});
