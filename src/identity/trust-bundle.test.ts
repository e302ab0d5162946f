// The list of authorities: what it may say, how it may change, and what becomes of one that is older, cut or forged.
//
// A change to trust-bundle.ts that no test here notices, and why: counting the active authorities of the other kind for each kind, since
// both kinds are counted and both must have exactly one.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { fromUtf8, toBase64, toUtf8 } from "../core/bytes.ts";
import { DAY, formatInstant, parseInstant } from "../core/instant.ts";
import type { Certificate } from "../der/x509.ts";
import { localSigner } from "../keys/signer.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import {
  AUTHORITY_STATES,
  canBecome,
  moved,
  type AuthorityMove,
  type AuthorityState,
} from "./authority-states.ts";
import { createAuthority, issueDevice, type Authority } from "./authority.ts";
import { openBundleKeeper } from "./bundle-keeper.ts";
import {
  activeOf,
  AUTHORITIES_LIMIT,
  believedOf,
  checkFollows,
  findAuthorityIn,
  firstBundle,
  issuerIn,
  moveAuthority,
  parseTrustBundle,
  serialiseTrustBundle,
  withPrepared,
  type TrustBundle,
} from "./trust-bundle.ts";

const random = { bytes: (n: number) => new Uint8Array(randomBytes(n)) };
const now = parseInstant("2026-11-21T04:00:00Z");
const newAuthority = (name: string): Promise<Authority> => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return createAuthority({ name, signer: localSigner(privateKey, "ecdsa-sha2-nistp256"), now, random });
};
const [s1, s2, d1, d2] = (await Promise.all(["s1", "s2", "d1", "d2"].map(newAuthority))) as [
  Authority,
  Authority,
  Authority,
  Authority,
];
const pinOf = ({ certificate }: { readonly certificate: Certificate }): string =>
  firstBundle(certificate, d1.certificate).authorities[0]!.spkiSha256;
const first = firstBundle(s1.certificate, d1.certificate);
const both = withPrepared(first, "server", s2.certificate);
const states = (bundle: TrustBundle): readonly AuthorityState[] =>
  bundle.authorities.map(({ state }) => state);
/** What a forger may write. */
type Loose = { [name: string]: unknown; serverCAs: LooseRow[]; deviceCAs: LooseRow[] };
type LooseRow = { [name: string]: unknown };
const edited = (edit: (value: Loose) => void): Uint8Array => {
  const value = JSON.parse(fromUtf8(serialiseTrustBundle(both))) as Loose;
  edit(value);
  return toUtf8(JSON.stringify(value));
};

describe("the table of an authority's life", () => {
  it("leads from prepared over active to revoked, and never back", () => {
    const rows: readonly (readonly [AuthorityMove, AuthorityState, AuthorityState | null])[] = [
      ["activate", "prepared", "active"],
      ["activate", "active", null],
      ["activate", "tainted", null],
      ["activate", "revoked", null],
      ["taint", "prepared", "tainted"],
      ["taint", "active", null],
      ["taint", "tainted", null],
      ["taint", "revoked", null],
      ["revoke", "prepared", "revoked"],
      ["revoke", "active", null],
      ["revoke", "tainted", "revoked"],
      ["revoke", "revoked", null],
    ];
    for (const [move, from, to] of rows) {
      if (to === null)
        assert.throws(() => moved(move, from), { code: "identity/bad-move" }, `${move} ${from}`);
      else assert.equal(moved(move, from), to);
    }
  });

  it("lets one state issue, three be believed, and nothing follow on revocation", () => {
    const all = Object.entries(AUTHORITY_STATES) as [AuthorityState, (typeof AUTHORITY_STATES)["active"]][];
    assert.deepEqual(
      all.filter(([, is]) => is.issues).map(([state]) => state),
      ["active"],
    );
    assert.deepEqual(
      all.filter(([, is]) => is.believed).map(([state]) => state),
      ["prepared", "active", "tainted"],
    );
    for (const [state] of all) assert.equal(canBecome("revoked", state), state === "revoked");
    assert.ok(!canBecome("tainted", "prepared") && !canBecome("tainted", "active"));
  });
});

describe("a trust bundle", () => {
  it("is read back as it was written", () => {
    const bytes = serialiseTrustBundle(both);
    assert.deepEqual(serialiseTrustBundle(parseTrustBundle(bytes)), bytes);
    assert.deepEqual(
      parseTrustBundle(bytes).authorities.map(({ kind, state }) => `${kind} ${state}`),
      ["server active", "server prepared", "device active"],
    );
  });

  it("has one active authority of each kind through a whole rotation", () => {
    let bundle = both;
    const step = (move: AuthorityMove, on: Authority): void => {
      const after = moveAuthority(bundle, move, pinOf(on));
      checkFollows(bundle, after);
      bundle = after;
    };
    step("activate", s2);
    assert.deepEqual(states(bundle), ["prepared", "active", "active"]);
    assert.equal(activeOf(bundle, "server").spkiSha256, pinOf(s2));
    assert.equal(believedOf(bundle, "server").length, 2, "the old one is believed on");
    step("taint", s1);
    assert.equal(believedOf(bundle, "server").length, 2);
    step("revoke", s1);
    assert.deepEqual(
      believedOf(bundle, "server").map((one) => one.spkiSha256),
      [pinOf(s2)],
    );
    assert.equal(bundle.seq, 5);
    for (const move of ["activate", "taint", "revoke"] as const)
      assert.throws(() => moveAuthority(bundle, move, pinOf(s1)), { code: "identity/bad-move" });
    assert.throws(() => withPrepared(bundle, "server", s1.certificate), { code: "identity/bad-move" });
  });

  it("takes an activation back by activating the old one again", () => {
    const there = moveAuthority(both, "activate", pinOf(s2));
    const back = moveAuthority(there, "activate", pinOf(s1));
    assert.deepEqual(states(back), states(both));
  });

  it("finds an authority by the first digits of its key, and none by too few", () => {
    assert.equal(findAuthorityIn(both, pinOf(s2).slice(0, 8)).spkiSha256, pinOf(s2));
    for (const start of ["", pinOf(s2).slice(0, 7), "0".repeat(64)])
      assert.throws(() => findAuthorityIn(both, start), { code: "identity/unknown-authority" });
  });

  it("tells by the signature which authority issued a certificate, whatever the names say", async () => {
    const namesake = await newAuthority("d1");
    const device = "0a0b0c0d-0000-4000-8000-000000000001";
    const { spki } = s1.signer.publicKey;
    const ours = await issueDevice(d1, { device, spki, now, random });
    const theirs = await issueDevice(namesake, { device, spki, now, random });
    assert.equal(issuerIn(both, "device", ours)?.certificate, d1.certificate);
    assert.equal(issuerIn(both, "device", theirs), null);
    assert.equal(issuerIn(both, "server", ours), null);
  });

  it("is refused for every field that is missing, new, or of another form", () => {
    const edits: readonly ((value: Loose) => void)[] = [
      (v) => void delete v["seq"],
      (v) => (v["seq"] = 0),
      (v) => (v["seq"] = "2"),
      (v) => (v["format"] = 2),
      (v) => (v["location"] = "https://elsewhere.example"),
      (v) => (v.serverCAs[0]!["url"] = "https://elsewhere.example"),
      (v) => (v.serverCAs = []),
      (v) => void delete (v as Partial<Loose>).deviceCAs,
      (v) => (v.serverCAs[0]!["state"] = "trusted"),
      (v) => (v.serverCAs[0]!["spkiSha256"] = String(v.serverCAs[0]!["spkiSha256"]).toUpperCase()),
      (v) => (v.serverCAs[0]!["notAfter"] = "2036"),
      (v) => (v.serverCAs[0]!["certificate"] = ""),
    ];
    for (const [i, edit] of edits.entries())
      assert.throws(() => parseTrustBundle(edited(edit)), { code: "schema/invalid" }, `edit ${i}`);
    const whole = serialiseTrustBundle(both);
    assert.throws(() => parseTrustBundle(whole.subarray(0, whole.length / 2)), /./, "cut");
    assert.throws(() => parseTrustBundle(new Uint8Array()), /./, "empty");
  });

  it("is refused when what it says of a certificate is not so (forged list)", async () => {
    const device = "0a0b0c0d-0000-4000-8000-000000000001";
    const leaf = await issueDevice(d1, { device, spki: d2.signer.publicKey.spki, now, random });
    const flipped = Uint8Array.from(s1.certificate.der);
    flipped[flipped.length - 1]! ^= 1;
    const edits: readonly ((value: Loose) => void)[] = [
      (v) => (v.serverCAs[0]!["spkiSha256"] = "0".repeat(64)),
      (v) => (v.serverCAs[0]!["notAfter"] = "2030-01-01T00:00:00Z"),
      (v) => (v.serverCAs[0]!["certificate"] = toBase64(s2.certificate.der)),
      (v) => (v.serverCAs[0]!["certificate"] = toBase64(flipped)),
      (v) => (v.serverCAs[0]!["certificate"] = toBase64(s1.certificate.der.subarray(0, 100))),
      (v) => (v.serverCAs[0]!["certificate"] = "not base64!"),
      (v) => (v.serverCAs[1]!["state"] = "active"),
      (v) => (v.serverCAs[0]!["state"] = "prepared"),
      (v) => v.serverCAs.push(v.serverCAs[1]!),
      (v) => v.deviceCAs.push({ ...v.serverCAs[1] }),
      (v) =>
        v.deviceCAs.push({
          certificate: toBase64(leaf.der),
          spkiSha256: pinOf(d2),
          state: "prepared",
          notAfter: formatInstant(leaf.notAfter),
        }),
    ];
    for (const [i, edit] of edits.entries())
      assert.throws(() => parseTrustBundle(edited(edit)), { code: "identity/bad-bundle" }, `edit ${i}`);
  });

  it("has room for many authorities and an end", async () => {
    let bundle = first;
    const more = await Promise.all(
      Array.from({ length: AUTHORITIES_LIMIT - 1 }, (_, i) => newAuthority(`n${i}`)),
    );
    for (const { certificate } of more) bundle = withPrepared(bundle, "device", certificate);
    assert.equal(parseTrustBundle(serialiseTrustBundle(bundle)).authorities.length, AUTHORITIES_LIMIT + 1);
    assert.throws(() => withPrepared(bundle, "device", d2.certificate), { code: "identity/bad-move" });
  });
});

describe("a later bundle", () => {
  const later = (authorities: TrustBundle["authorities"], seq = both.seq + 1): TrustBundle => ({
    seq,
    authorities,
  });

  it("has a higher number (bundle rollback)", () => {
    for (const seq of [both.seq, both.seq - 1, 0])
      assert.throws(() => checkFollows(both, later(both.authorities, seq)), { code: "identity/old-bundle" });
    checkFollows(both, later(both.authorities, both.seq + 100));
  });

  it("leaves out nobody, replaces nobody, and brings no revoked one back", async () => {
    const revoked = moveAuthority(both, "revoke", pinOf(s2));
    const again = await createAuthority({ name: "again", signer: s2.signer, now: now + DAY, random });
    const wrong: readonly TrustBundle["authorities"][] = [
      revoked.authorities.filter((one) => one.spkiSha256 !== pinOf(s2)),
      revoked.authorities.map((one) => (one.spkiSha256 === pinOf(s2) ? { ...one, state: "prepared" } : one)),
      revoked.authorities.map((one) => (one.spkiSha256 === pinOf(s2) ? { ...one, state: "tainted" } : one)),
      revoked.authorities.map((one) => (one.spkiSha256 === pinOf(s2) ? { ...one, kind: "device" } : one)),
      revoked.authorities.map((one) =>
        one.spkiSha256 === pinOf(s2) ? { ...one, certificate: again.certificate } : one,
      ),
    ];
    for (const [i, authorities] of wrong.entries())
      assert.throws(
        () => checkFollows(revoked, later(authorities, revoked.seq + 1)),
        { code: "identity/bad-bundle" },
        `case ${i}`,
      );
  });
});

describe("the keeper of a bundle", () => {
  const path = "/identity/bundle.json";

  it("keeps the newest over restarts, in a file for its owner alone", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/identity", 0o700);
    const keeper = await openBundleKeeper(disk, path);
    assert.equal(keeper.bundle, null);
    assert.equal(await keeper.take(serialiseTrustBundle(first)), true);
    assert.equal(await keeper.take(serialiseTrustBundle(both)), true);
    assert.equal(await keeper.take(serialiseTrustBundle(both)), false, "it is known");
    assert.equal((await disk.stat(path)).mode & 0o777, 0o600);
    const reopened = await openBundleKeeper(disk, path);
    assert.deepEqual([reopened.bundle?.seq, reopened.sha256], [2, keeper.sha256]);
  });

  it("keeps the old trust when an older, cut or contradicting bundle comes", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/identity", 0o700);
    const keeper = await openBundleKeeper(disk, path);
    const bytes = serialiseTrustBundle(both);
    await keeper.take(bytes);
    await assert.rejects(keeper.take(serialiseTrustBundle(first)), { code: "identity/old-bundle" });
    const other = serialiseTrustBundle(withPrepared(first, "device", d2.certificate));
    await assert.rejects(keeper.take(other), { code: "identity/old-bundle" }, "two with one number");
    await assert.rejects(keeper.take(bytes.subarray(0, 400)));
    assert.equal(keeper.bundle?.seq, 2);
    assert.deepEqual(await disk.read(path, 1 << 20), bytes);
  });

  it("says that its file is damaged, believes nobody then, and is healed by the next bundle", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/identity", 0o700);
    await (await openBundleKeeper(disk, path)).take(serialiseTrustBundle(both));
    const file = await disk.open(path, "write", 0o600);
    await file.truncate(300);
    await file.close();
    const keeper = await openBundleKeeper(disk, path);
    assert.notEqual(keeper.damage, null);
    assert.deepEqual([keeper.bundle, keeper.sha256], [null, null]);
    assert.equal(await keeper.take(serialiseTrustBundle(both)), true);
    assert.equal(keeper.damage, null);
    assert.equal(keeper.bundle?.seq, 2);
  });
});
