// The authorities and what they issue, checked by another implementation.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { describe, it } from "node:test";
import { DAY, parseInstant } from "../core/instant.ts";
import { buildCsr } from "../der/csr.ts";
import { buildName } from "../der/names.ts";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { localSigner, type Signer } from "../keys/signer.ts";
import {
  AUTHORITY_LIFE,
  createAuthority,
  DEVICE_LIFE,
  issueDevice,
  issueServer,
  readDeviceRequest,
  renewalTime,
  spkiDigest,
} from "./authority.ts";

const random = { bytes: (n: number) => new Uint8Array(randomBytes(n)) };
const now = parseInstant("2026-11-21T04:00:00Z");
const p256 = (): Signer =>
  localSigner(generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey, "ecdsa-sha2-nistp256");
const device = "0a0b0c0d-0000-4000-8000-000000000001";
const authority = await createAuthority({ name: "Test authority", signer: p256(), now, random });
const read = (certificate: { readonly der: Uint8Array }): X509Certificate =>
  new X509Certificate(certificate.der);

describe("an authority", () => {
  it("signs itself and may issue leaves only", () => {
    const certificate = read(authority.certificate);
    assert.ok(certificate.ca && certificate.verify(certificate.publicKey));
    assert.deepEqual(authority.certificate.extensions.basicConstraints, { ca: true, pathLength: 0 });
  });

  it("issues a device certificate that names the device and is for clients alone", async () => {
    const { spki } = p256().publicKey;
    const leaf = await issueDevice(authority, { device, spki, now, random });
    const certificate = read(leaf);
    assert.ok(certificate.checkIssued(read(authority.certificate)));
    assert.ok(certificate.verify(read(authority.certificate).publicKey));
    assert.equal(certificate.subjectAltName, `URI:spiffe://upkeep/device/${device}`);
    assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.2"]);
    assert.equal(certificate.ca, false);
    assert.equal(leaf.notAfter, now + DEVICE_LIFE);
    assert.equal(spkiDigest(leaf.spki), spkiDigest(spki));
  });

  it("issues a server certificate for names and addresses", async () => {
    const names = ["updates.example.org", "192.0.2.7", "2001:db8::7"];
    const certificate = read(
      await issueServer(authority, { names, spki: p256().publicKey.spki, now, random }),
    );
    assert.equal(certificate.checkHost("updates.example.org"), "updates.example.org");
    assert.equal(certificate.checkHost("other.example.org"), undefined);
    for (const address of names.slice(1)) assert.equal(certificate.checkIP(address), address);
    assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
    await assert.rejects(issueServer(authority, { names: [], spki: p256().publicKey.spki, now, random }), {
      code: "identity/bad-request",
    });
  });

  it("issues nothing that outlives it, and no number twice", async () => {
    const { spki } = p256().publicKey;
    const late = now + AUTHORITY_LIFE - DAY;
    const [a, b] = [
      await issueDevice(authority, { device, spki, now: late, random }),
      await issueDevice(authority, { device, spki, now: late, random }),
    ];
    assert.equal(a.notAfter, authority.certificate.notAfter);
    assert.notDeepEqual(a.serial, b.serial);
  });

  it("renews at half of a life", () => {
    assert.equal(renewalTime({ notBefore: now, notAfter: now + 10 * DAY }), now + 5 * DAY);
  });
});

describe("a device's request", () => {
  const csrOf = (signer: Signer): Promise<Uint8Array> =>
    buildCsr({ subject: buildName([["CN", "x"]]), signer });

  it("is read for its key, P-256 or Ed25519", async () => {
    for (const signer of [p256(), localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519")]) {
      assert.deepEqual(readDeviceRequest(await csrOf(signer)).spki, signer.publicKey.spki);
    }
  });

  it("is refused with another kind of key, when changed, and when it is no request", async () => {
    const rsa = localSigner(
      generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
      "rsa-pkcs1v15-sha256",
    );
    const p384 = localSigner(
      generateKeyPairSync("ec", { namedCurve: "secp384r1" }).privateKey,
      "ecdsa-sha2-nistp384",
    );
    const good = await csrOf(p256());
    const swapped = Uint8Array.from(good);
    swapped[20]! ^= 1;
    const bad = [
      await csrOf(rsa),
      await csrOf(p384),
      swapped,
      good.slice(1),
      new Uint8Array(0),
      new Uint8Array(5000),
    ];
    for (const der of bad) assert.throws(() => readDeviceRequest(der), { code: "identity/bad-request" });
  });
});
