// Tests of the search for a chain and of each condition on it, on certificates alone; a condition that is taken away fails one of them.
//
// Changes to chain.ts that no test notices, and why they stay. `extended = true` and `return true` behind a path without fault: they only spare
// the judging of paths that are shorter or not better; the best one found is the same. Which of several issuers is tried first (`rank`) decides
// only how many checks of signatures a hostile bag costs.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { toHex } from "../core/bytes.ts";
import { DAY, type Instant } from "../core/instant.ts";
import type { RevocationList } from "../der/crl.ts";
import * as oids from "../der/oids.ts";
import { writeExtension } from "../der/extensions.ts";
import type { Certificate } from "../der/x509.ts";
import { now } from "../testing/pe-signing.ts";
import { issue, type Holder } from "../testing/publisher-pki.ts";
import { checkChain, type ChainResult, type ChainWish, type Purpose } from "./chain.ts";

type Values = Parameters<typeof issue>[3];
const life = { notBefore: now - 100 * DAY, notAfter: now + 100 * DAY };
const authority = (issuer: Holder | null, name: string, more: Partial<Values> = {}): Promise<Holder> =>
  issue(issuer, name, "p256", { ...life, ca: true, ...more });
const signer = (issuer: Holder | null, more: Partial<Values> = {}): Promise<Holder> =>
  issue(issuer, "Leaf", "p256", { ...life, eku: [oids.codeSigning], ...more });

const check = (
  leaf: Holder,
  bag: readonly Holder[],
  roots: readonly Holder[],
  more: Partial<ChainWish> = {},
): ChainResult =>
  checkChain({
    leaf: leaf.certificate,
    bag: bag.map((each) => each.certificate),
    roots: roots.map((each) => each.certificate),
    purpose: "codeSigning",
    at: now,
    ...more,
  });
const errors = (result: ChainResult): readonly string[] =>
  result.findings.filter(({ level }) => level === "error").map(({ code }) => code);
const warnings = (result: ChainResult): readonly string[] =>
  result.findings.filter(({ level }) => level === "warning").map(({ code }) => code);

let root: Holder;
let middle: Holder;
let leaf: Holder;
before(async () => {
  root = await authority(null, "Root");
  middle = await authority(root, "Middle");
  leaf = await signer(middle);
});

describe("the search for a chain", () => {
  it("finds the root over the bag, and says that it is anchored", () => {
    const result = check(leaf, [middle], [root]);
    assert.deepEqual(errors(result), []);
    assert.equal(result.anchored, true);
    assert.deepEqual(result.path, [leaf.certificate, middle.certificate, root.certificate]);
  });

  it("trusts a leaf that the caller named itself", () => {
    const result = check(leaf, [], [leaf]);
    assert.deepEqual([errors(result), result.anchored, result.path.length], [[], true, 1]);
  });

  it("is not anchored in a root that only came along (a forger brings his own)", () => {
    const result = check(leaf, [middle, root], []);
    assert.deepEqual([errors(result), result.anchored], [["chain/untrusted"], false]);
    assert.match(result.findings[0]!.message, /ends in "CN=Root.*not among the trusted roots/);
    assert.match(check(leaf, [], [root]).findings[0]!.message, /incomplete: the issuer "CN=Middle/);
    assert.equal(check(leaf, [middle], []).path.length, 2);
  });

  it("takes no issuer that has the right name and did not sign", async () => {
    const namesake = await authority(root, "Middle");
    assert.deepEqual(errors(check(leaf, [namesake], [root])), ["chain/untrusted"]);
    // Beside the right one it does not disturb, whichever comes first.
    assert.deepEqual(errors(check(leaf, [namesake, middle], [root])), []);
    assert.deepEqual(errors(check(leaf, [middle, namesake], [root])), []);
  });

  it("takes the path without fault when another one with faults is found first", async () => {
    const old = await issue(root, "Middle", "p256", {
      notBefore: now - 9 * DAY,
      notAfter: now - 8 * DAY,
      ca: true,
    });
    // The same key under two certificates, as when an authority is renewed.
    const renewed = await renew(root, middle, { notBefore: now - 9 * DAY, notAfter: now - 8 * DAY });
    assert.deepEqual(errors(check(leaf, [old, renewed, middle], [root])), []);
    assert.deepEqual(errors(check(leaf, [middle, renewed, old], [root])), []);
    assert.deepEqual(errors(check(leaf, [renewed], [root])), ["chain/expired"]);
  });

  it("prefers an anchored path with a fault to one that ends nowhere", async () => {
    const lost = await authority(null, "Other root");
    const cross = await renew(lost, middle, life);
    const expired = await renew(root, middle, { notBefore: now - 9 * DAY, notAfter: now - 8 * DAY });
    for (const bag of [
      [cross, expired],
      [expired, cross],
    ]) {
      const result = check(leaf, [...bag, lost], [root]);
      assert.deepEqual([result.anchored, errors(result)], [true, ["chain/expired"]]);
    }
  });

  it("does not run in a circle of authorities that issued each other", async () => {
    const other = await authority(root, "Other");
    const back = await renew(other, middle, life);
    const forth = await renew(back, other, life);
    const result = check(leaf, [back, forth], []);
    assert.deepEqual(errors(result), ["chain/untrusted"]);
    assert.equal(result.path.length, 3);
  });

  it("goes through two authorities of one name, or of one key", async () => {
    const above = await authority(root, "Middle");
    const below = await authority(above, "Middle");
    const under = await signer(below);
    assert.deepEqual(errors(check(under, [above, below], [root])), []);
    const twin = await renew(root, middle, life, "Twin");
    const again = await renew(twin, middle, life);
    assert.deepEqual(errors(check(leaf, [again, twin], [root])), []);
  });

  it("ends with ten certificates", async () => {
    const chainOf = async (authorities: number): Promise<readonly string[]> => {
      let last = root;
      const bag: Holder[] = [];
      for (let i = 1; i < authorities; i++) bag.push((last = await authority(last, `Level ${i}`)));
      return errors(check(await signer(last), bag, [root]));
    };
    assert.deepEqual(await chainOf(9), []);
    assert.deepEqual(await chainOf(10), ["chain/untrusted"]);
  });

  it("spends 64 checks of signatures on a hostile bag, and no more", async () => {
    const namesakes = await Promise.all(
      Array.from({ length: 64 }, () => issue(null, "Middle", "p256", { ...life, ca: true })),
    );
    // 62 that did not sign, the one that did, and its root.
    assert.deepEqual(errors(check(stripped(leaf), [...namesakes.slice(0, 62), middle], [root])), []);
    assert.deepEqual(errors(check(stripped(leaf), [...namesakes.slice(0, 63), middle], [root])), [
      "chain/untrusted",
    ]);
    // The key identifier points to the right one at once.
    assert.deepEqual(errors(check(leaf, [...namesakes, middle], [root])), []);
  });
});

describe("a certificate of the chain", () => {
  it("counts from its first to its last instant", async () => {
    const short = await signer(middle, { notBefore: now - DAY, notAfter: now + DAY });
    const at = (instant: Instant): readonly string[] =>
      errors(check(short, [middle], [root], { at: instant }));
    assert.deepEqual(at(now - DAY), []);
    assert.deepEqual(at(now + DAY), []);
    assert.deepEqual(at(now - DAY - 1000), ["chain/not-yet-valid"]);
    assert.deepEqual(at(now + DAY + 1000), ["chain/expired"]);
  });

  it("is refused for a critical extension that nobody understands, but for the root that was named", async () => {
    const extensions = [writeExtension("1.3.6.1.4.1.42921.9.9", true, Uint8Array.of(5, 0))];
    const strange = await authority(root, "Strange", { extensions });
    assert.deepEqual(errors(check(await signer(strange), [strange], [root])), [
      "chain/unknown-critical-extension",
    ]);
    assert.deepEqual(errors(check(await signer(strange), [], [strange])), []);
    assert.deepEqual(errors(check(await signer(middle, { extensions }), [middle], [root])), [
      "chain/unknown-critical-extension",
    ]);
  });

  it("that issues has to be an authority, by constraints and by key usage, and for this purpose", async () => {
    const below = async (
      values: Partial<Values>,
      purpose: Purpose = "codeSigning",
    ): Promise<readonly string[]> => {
      const issuer = await authority(root, "Issuer", values);
      const stamping = { eku: [oids.timeStamping], ekuCritical: true };
      const end = await signer(issuer, purpose === "codeSigning" ? {} : stamping);
      return errors(check(end, [issuer], [root], { purpose }));
    };
    assert.deepEqual(await below({}), []);
    assert.deepEqual(await below({ ca: false, keyUsage: ["keyCertSign"] }), ["chain/not-an-authority"]);
    assert.deepEqual(await below({ keyUsage: ["digitalSignature"] }), ["chain/key-usage"]);
    assert.deepEqual(await below({ eku: [oids.serverAuth] }), ["chain/extended-key-usage"]);
    assert.deepEqual(await below({ eku: [oids.timeStamping] }), ["chain/extended-key-usage"]);
    assert.deepEqual(await below({ eku: [oids.codeSigning] }), []);
    assert.deepEqual(await below({ eku: [oids.anyExtendedKeyUsage] }), []);
    assert.deepEqual(await below({ eku: [oids.codeSigning] }, "timeStamping"), ["chain/extended-key-usage"]);
    assert.deepEqual(await below({ eku: [oids.timeStamping] }, "timeStamping"), []);
  });

  it("may have as many authorities below it as it says", async () => {
    const top = await authority(root, "Top", { ca: { pathLength: 1 } });
    const one = await authority(top, "One");
    const two = await authority(one, "Two");
    assert.deepEqual(errors(check(await signer(one), [top, one], [root])), []);
    assert.deepEqual(errors(check(await signer(two), [top, one, two], [root])), ["chain/path-too-long"]);
  });

  it("of version 1 may be a root that signed itself, and no authority in between", () => {
    const version1 = (holder: Holder, issuer: Certificate = holder.certificate): Holder => ({
      ...holder,
      certificate: {
        ...holder.certificate,
        version: 1,
        issuer: issuer.issuer,
        extensions: { ...holder.certificate.extensions, basicConstraints: null, keyUsage: null },
      },
    });
    assert.deepEqual(errors(check(leaf, [middle], [version1(root)])), []);
    assert.deepEqual(errors(check(leaf, [version1(middle)], [root])), ["chain/not-an-authority"]);
  });

  it("is refused for an RSA key below 2048 bits and for SHA-1, but for the root's own signature", () => {
    const sha1 = (holder: Holder): Holder => ({
      ...holder,
      certificate: { ...holder.certificate, signatureAlgorithm: { kind: "ecdsa", hash: "sha1" } },
    });
    assert.deepEqual(errors(check(leaf, [middle], [sha1(root)])), []);
    // Whoever is named as SHA-1 does not verify as signed by SHA-256 any more: the leaf named as root has no issuer to ask.
    assert.deepEqual(errors(check(sha1(leaf), [], [])), ["chain/untrusted", "chain/weak-digest"]);
  });
});

describe("a leaf", () => {
  const leafErrors = async (
    values: Partial<Values>,
    purpose: Purpose = "codeSigning",
  ): Promise<readonly string[]> => errors(check(await signer(middle, values), [middle], [root], { purpose }));

  it("that signs code needs the purpose and a key that may make signatures", async () => {
    assert.deepEqual(await leafErrors({ eku: [oids.serverAuth] }), ["chain/extended-key-usage"]);
    assert.deepEqual(await leafErrors({ eku: [oids.serverAuth, oids.codeSigning] }), []);
    assert.deepEqual(await leafErrors({ keyUsage: ["nonRepudiation"] }), ["chain/key-usage"]);
    const without = await issue(middle, "Leaf", "p256", life);
    assert.deepEqual(errors(check(without, [middle], [root])), ["chain/extended-key-usage"]);
  });

  it("that stamps time has this purpose and no other; nonRepudiation will do for its key", async () => {
    const stamping = { eku: [oids.timeStamping], ekuCritical: true } as const;
    assert.deepEqual(await leafErrors(stamping, "timeStamping"), []);
    assert.deepEqual(await leafErrors({ ...stamping, keyUsage: ["nonRepudiation"] }, "timeStamping"), []);
    assert.deepEqual(await leafErrors({ ...stamping, keyUsage: ["keyAgreement"] }, "timeStamping"), [
      "chain/key-usage",
    ]);
    assert.deepEqual(await leafErrors({ eku: [oids.codeSigning] }, "timeStamping"), [
      "chain/extended-key-usage",
    ]);
    const both = [oids.timeStamping, oids.codeSigning];
    assert.deepEqual(await leafErrors({ eku: both }, "timeStamping"), ["chain/extended-key-usage"]);
    const without = await issue(middle, "Leaf", "p256", life);
    assert.deepEqual(errors(check(without, [middle], [root], { purpose: "timeStamping" })), [
      "chain/extended-key-usage",
    ]);
  });

  it("that is an authority itself is worth a warning", async () => {
    const both = await signer(middle, { ca: true, keyUsage: ["digitalSignature", "keyCertSign"] });
    assert.deepEqual(warnings(check(both, [middle], [root])), ["chain/authority-signs-code"]);
    assert.deepEqual(warnings(check(leaf, [middle], [root])), []);
  });
});

describe("a revocation list", () => {
  const list = (by: Holder, more: Partial<RevocationList> = {}): RevocationList => ({
    issuer: by.certificate.subject,
    thisUpdate: now - DAY,
    nextUpdate: now + DAY,
    revoked: new Map([[toHex(leaf.certificate.serial), { at: now - 2 * DAY, reason: null }]]),
    isSignedBy: (issuer) => issuer === by.certificate,
    ...more,
  });
  const empty = new Map<string, never>();
  const judged = (lists: readonly RevocationList[], required = false): ChainResult =>
    check(leaf, [middle], [root], { revocation: { lists, required, now } });
  const all = (result: ChainResult): readonly string[] => result.findings.map(({ code }) => code);

  it("of the issuer takes the certificate away", () => {
    assert.deepEqual(all(judged([list(middle)])), ["chain/revoked"]);
    const stolen = new Map([[toHex(leaf.certificate.serial), { at: now, reason: 1 }]]);
    const result = judged([list(middle, { revoked: stolen })]);
    assert.match(result.findings[0]!.message, /because its key was stolen/);
    assert.doesNotMatch(judged([list(middle)]).findings[0]!.message, /stolen/);
  });

  it("of anybody else takes nothing away: another name, another key under the name, another number", () => {
    assert.deepEqual(all(judged([list(root)])), []);
    assert.deepEqual(all(judged([list(middle, { isSignedBy: () => false })])), []);
    assert.deepEqual(all(judged([list(middle, { issuer: root.certificate.subject })])), []);
    assert.deepEqual(
      all(judged([list(middle, { revoked: new Map([["00", { at: 0, reason: null }]]) })])),
      [],
    );
  });

  it("counts by the date of revocation, and removal from the list is none", () => {
    const at = (instant: Instant, reason: number | null = null): readonly string[] =>
      all(
        judged([
          list(middle, { revoked: new Map([[toHex(leaf.certificate.serial), { at: instant, reason }]]) }),
        ]),
      );
    assert.deepEqual(at(now), ["chain/revoked"]);
    assert.deepEqual(at(now + 1000), ["chain/revoked-later"]);
    assert.deepEqual(at(now - DAY, 8), []);
  });

  it("has to be there and fresh where that is required, and is only named where it is not", () => {
    const above = list(root, { revoked: empty });
    assert.deepEqual(all(judged([above, list(middle, { revoked: empty })], true)), []);
    assert.deepEqual(all(judged([above], true)), ["chain/revocation-unknown"]);
    assert.deepEqual(all(judged([list(middle, { revoked: empty })], true)), ["chain/revocation-unknown"]);
    for (const nextUpdate of [now - 1, null]) {
      const stale = list(middle, { revoked: empty, nextUpdate });
      const required = judged([above, stale], true);
      assert.deepEqual([all(required), errors(required).length], [["chain/revocation-stale"], 1]);
      const wished = judged([above, stale]);
      assert.deepEqual([all(wished), errors(wished).length], [["chain/revocation-stale"], 0]);
    }
    assert.match(
      judged([list(middle, { revoked: empty, nextUpdate: null })]).findings[0]!.message,
      /since ever/,
    );
    assert.deepEqual(all(judged([list(middle, { revoked: empty, nextUpdate: now })])), []);
  });

  it("is stale by the newest of several, and revokes by any of them", () => {
    const old = list(middle, { thisUpdate: now - 9 * DAY, nextUpdate: now - 8 * DAY, revoked: empty });
    const fresh = list(middle, { revoked: empty });
    assert.deepEqual(all(judged([old, fresh])), []);
    assert.deepEqual(all(judged([fresh, old])), []);
    assert.deepEqual(all(judged([fresh, { ...old, revoked: list(middle).revoked }])), ["chain/revoked"]);
  });
});

/** Another certificate for the key of `holder`, under another issuer, in another life, by another name. */
async function renew(
  issuer: Holder,
  holder: Holder,
  values: { readonly notBefore: Instant; readonly notAfter: Instant },
  name?: string,
): Promise<Holder> {
  const { buildCertificate } = await import("../der/issue.ts");
  const { buildName } = await import("../der/names.ts");
  const certificate = await buildCertificate({
    ...values,
    ca: true,
    serial: Uint8Array.of(0x20, Math.floor(Math.random() * 256), Math.floor(Math.random() * 256)),
    issuer: { certificate: issuer.certificate, signer: issuer.signer },
    subject:
      name === undefined
        ? holder.certificate.subject
        : buildName([
            ["C", "DE"],
            ["O", "Example"],
            ["CN", name],
          ]),
    spki: holder.signer.publicKey.spki,
  });
  return { ...holder, certificate };
}

/** The same certificate, as if it did not say which key of its issuer signed it. */
function stripped(holder: Holder): Holder {
  const { certificate } = holder;
  return {
    ...holder,
    certificate: { ...certificate, extensions: { ...certificate.extensions, authorityKeyIdentifier: null } },
  };
}
