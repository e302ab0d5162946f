// Public keys in TUF's form: what is read, what is refused, and that every scheme verifies what it signed.

import assert from "node:assert/strict";
import { constants, createHash, generateKeyPairSync, sign, verify, type KeyObject } from "node:crypto";
import { describe, it } from "node:test";
import { toHex, toUtf8 } from "../core/bytes.ts";
import { canonicalJson } from "../core/canonical-json.ts";
import { sha256Hex } from "../core/digest.ts";
import type { JsonObject } from "../core/json.ts";
import { parseTufKey, publicKeyFromSpki, publicKeyOf, verifyWith } from "./public-key.ts";
import { SCHEMES, type Scheme } from "./scheme.ts";
import { localSigner } from "./signer.ts";

const pairs = new Map<string, { publicKey: KeyObject; privateKey: KeyObject }>();

/** One pair per kind: RSA keys take long to make. */
function pair(scheme: Scheme): { publicKey: KeyObject; privateKey: KeyObject } {
  const { node, curve } = SCHEMES[scheme];
  const kind = `${node} ${curve ?? ""}`;
  const known = pairs.get(kind);
  if (known !== undefined) return known;
  const generate = generateKeyPairSync as (
    type: string,
    options?: object,
  ) => { publicKey: KeyObject; privateKey: KeyObject };
  const made = generate(node, { namedCurve: curve, modulusLength: 2048 });
  pairs.set(kind, made);
  return made;
}

const pem = (key: KeyObject): string => String(key.export({ type: "spki", format: "pem" }));
const message = toUtf8("what was signed");

describe("every signature scheme", () => {
  for (const scheme of ["rsassa-pss-sha256", "rsa-pkcs1v15-sha256"] as const)
    it(`${scheme} has one spelling: a leading zero cannot be cut off`, async () => {
      const signer = localSigner(pair(scheme).privateKey, scheme);
      // One signature in 256 begins with a zero; PSS makes another one each time, PKCS #1 another one for each message.
      for (let i = 0; i < 6000; i++) {
        const text = toUtf8(`message ${i}`);
        const signature = await signer.sign(text);
        if (signature[0] !== 0) continue;
        assert.ok(signer.publicKey.verify(text, signature));
        assert.ok(!signer.publicKey.verify(text, signature.subarray(1)));
        return;
      }
      assert.fail("no signature began with a zero");
    });

  for (const scheme of Object.keys(SCHEMES) as Scheme[]) {
    it(`${scheme} verifies its own signatures through the TUF form, and nothing else`, async () => {
      const signer = localSigner(pair(scheme).privateKey, scheme);
      const key = parseTufKey(signer.publicKey.tuf);
      assert.equal(key.scheme, scheme);
      assert.equal(key.keyid, signer.publicKey.keyid);
      assert.deepEqual(key.spki, signer.publicKey.spki);
      const signature = await signer.sign(message);
      assert.equal(key.verify(message, signature), true);
      assert.equal(key.verify(toUtf8("something else"), signature), false);
      const broken = signature.slice();
      broken[broken.length >> 1]! ^= 1;
      assert.equal(key.verify(message, broken), false);
      for (const nonsense of [new Uint8Array(0), signature.subarray(1), new Uint8Array(10_000)]) {
        assert.equal(key.verify(message, nonsense), false);
      }
    });
  }

  // Signing and verifying share the rules below, so that another implementation has to say that they are the right ones.
  it("RSA-PSS is what others mean by it: a salt as long as the digest when signing, of any length when verifying", async () => {
    const { publicKey, privateKey } = pair("rsassa-pss-sha256");
    const signer = localSigner(privateKey, "rsassa-pss-sha256");
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    const signature = await signer.sign(message);
    assert.ok(verify("sha256", message, { key: publicKey, padding, saltLength: 32 }, signature));
    for (const saltLength of [0, 20, 32, 64]) {
      const theirs = sign("sha256", message, { key: privateKey, padding, saltLength });
      assert.ok(signer.publicKey.verify(message, theirs), `salt of ${saltLength}`);
    }
    const old = sign("sha256", message, { key: privateKey, padding: constants.RSA_PKCS1_PADDING });
    assert.ok(!signer.publicKey.verify(message, old));
    assert.ok(publicKeyOf(publicKey, "rsa-pkcs1v15-sha256").verify(message, old));
  });

  it("ML-DSA signs the digest with its prefix (TAP 21), and everything else the message itself", async () => {
    const { publicKey, privateKey } = pair("ml-dsa-44/1");
    const digest = createHash("sha512").update(message).digest();
    const input = Buffer.concat([Buffer.from("tuf\u0001"), digest]);
    const signature = await localSigner(privateKey, "ml-dsa-44/1").sign(message);
    assert.ok(verify(null, input, publicKey, signature));
    const ed = pair("ed25519");
    assert.ok(verify(null, message, ed.publicKey, await localSigner(ed.privateKey, "ed25519").sign(message)));
  });

  it("says no where the library can only fail: with a key that cannot verify", () => {
    const { publicKey } = generateKeyPairSync("x25519");
    assert.equal(verifyWith(publicKey, "ed25519", message, new Uint8Array(64)), false);
  });

  it("does not verify with another scheme of the same key", async () => {
    const signer = localSigner(pair("rsassa-pss-sha256").privateKey, "rsassa-pss-sha256");
    const signature = await signer.sign(message);
    for (const other of ["rsassa-pss-sha512", "rsa-pkcs1v15-sha256"] as const) {
      const key = publicKeyOf(pair("rsassa-pss-sha256").publicKey, other);
      assert.equal(key.verify(message, signature), false);
    }
  });
});

describe("a key id", () => {
  it("is the SHA-256 of the canonical key, unknown members included", () => {
    const { tuf } = publicKeyOf(pair("ed25519").publicKey, "ed25519");
    assert.equal(parseTufKey(tuf).keyid, sha256Hex(canonicalJson(tuf)));
    const more = { ...tuf, keyid_hash_algorithms: ["sha256"] };
    assert.equal(parseTufKey(more).keyid, sha256Hex(canonicalJson(more)));
  });

  it("that was given is kept as it is", () => {
    const { tuf } = publicKeyOf(pair("ed25519").publicKey, "ed25519");
    assert.equal(parseTufKey(tuf, "any id").keyid, "any id");
  });
});

describe("a key in TUF's form", () => {
  const p256 = pair("ecdsa-sha2-nistp256").publicKey;
  const ed = publicKeyOf(pair("ed25519").publicKey, "ed25519");
  const hexPoint = toHex(publicKeyOf(p256, "ecdsa-sha2-nistp256").spki.subarray(-65));

  it("of P-256 may be PEM or a hex point, under the old and the new key type, and is the same key", () => {
    const forms = [
      { keytype: "ecdsa", scheme: "ecdsa-sha2-nistp256", keyval: { public: pem(p256) } },
      { keytype: "ecdsa-sha2-nistp256", scheme: "ecdsa-sha2-nistp256", keyval: { public: pem(p256) } },
      { keytype: "ecdsa-sha2-nistp256", scheme: "ecdsa-sha2-nistp256", keyval: { public: hexPoint } },
    ];
    assert.equal(new Set(forms.map((form) => toHex(parseTufKey(form).spki))).size, 1);
  });

  it("of Ed25519 may be hex or PEM, and is the same key", () => {
    const form = {
      keytype: "ed25519",
      scheme: "ed25519",
      keyval: { public: pem(pair("ed25519").publicKey) },
    };
    assert.deepEqual(parseTufKey(form).spki, ed.spki);
    assert.equal((ed.tuf["keyval"] as JsonObject)["public"], toHex(ed.spki.subarray(-32)));
  });

  const small = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey;
  const form = (keytype: string, scheme: string, text: string): JsonObject => ({
    keytype,
    scheme,
    keyval: { public: text },
  });
  const rows: readonly (readonly [string, JsonObject, string])[] = [
    ["of an unknown scheme", form("ed25519", "ed448", "00"), "key/unknown-scheme"],
    [
      "whose scheme is the name of an object's member",
      form("ed25519", "constructor", "00"),
      "key/unknown-scheme",
    ],
    ["whose type and scheme differ", form("rsa", "ed25519", "00"), "key/mismatch"],
    [
      "of RSA whose type is its scheme",
      form("rsassa-pss-sha256", "rsassa-pss-sha256", pem(pair("rsassa-pss-sha256").publicKey)),
      "key/mismatch",
    ],
    ["of P-256 whose type is RSA", form("rsa", "ecdsa-sha2-nistp256", pem(p256)), "key/mismatch"],
    ["of Ed25519 with a point of P-256", form("ed25519", "ed25519", hexPoint), "key/malformed"],
    ["that is a list", [] as unknown as JsonObject, "key/malformed"],
    ["that is null", null as unknown as JsonObject, "key/malformed"],
    ["whose type is a number", { ...ed.tuf, keytype: 1 }, "key/malformed"],
    ["whose scheme is a number", { ...ed.tuf, scheme: 1 }, "key/malformed"],
    ["whose keyval is null", { ...ed.tuf, keyval: null }, "key/malformed"],
    [
      "of P-384 that says it is P-256",
      form("ecdsa", "ecdsa-sha2-nistp256", pem(pair("ecdsa-sha2-nistp384").publicKey)),
      "key/mismatch",
    ],
    [
      "of Ed25519 that says it is RSA",
      form("rsa", "rsassa-pss-sha256", pem(pair("ed25519").publicKey)),
      "key/mismatch",
    ],
    ["of RSA with 1024 bits", form("rsa", "rsassa-pss-sha256", pem(small)), "key/weak"],
    ["of 31 bytes", form("ed25519", "ed25519", "00".repeat(31)), "key/malformed"],
    ["of 33 bytes", form("ed25519", "ed25519", "00".repeat(33)), "key/malformed"],
    ["in upper-case hex", form("ed25519", "ed25519", "AB".repeat(32)), "key/malformed"],
    [
      "that is no point of the curve",
      form("ecdsa", "ecdsa-sha2-nistp256", `04${"11".repeat(64)}`),
      "key/malformed",
    ],
    [
      "in broken PEM",
      form("rsa", "rsassa-pss-sha256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
      "key/malformed",
    ],
    ["without a value", { keytype: "ed25519", scheme: "ed25519", keyval: {} }, "key/malformed"],
    [
      "whose value is a list",
      { keytype: "ed25519", scheme: "ed25519", keyval: { public: ["00"] } },
      "key/malformed",
    ],
  ];
  for (const [name, value, code] of rows) {
    it(`${name} is refused`, () => {
      assert.throws(() => parseTufKey(value), { code });
    });
  }

  it("without a value says so", () => {
    const bare = { keytype: "ed25519", scheme: "ed25519", keyval: {} };
    assert.throws(() => parseTufKey(bare), { message: /keyval\.public is missing/ });
  });

  it("that holds a private key is refused", () => {
    const text = String(pair("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }));
    assert.throws(() => parseTufKey(form("ed25519", "ed25519", text)), { code: "key/malformed" });
  });

  it("can be made from a SubjectPublicKeyInfo", () => {
    assert.equal(publicKeyFromSpki(ed.spki, "ed25519").keyid, ed.keyid);
    assert.throws(() => publicKeyFromSpki(ed.spki.subarray(1), "ed25519"), { code: "key/malformed" });
  });
});
