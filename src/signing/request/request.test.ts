// Tests of requests and approvals as a hostile client would make them.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { toBase64 } from "../../core/bytes.ts";
import { canonicalJson } from "../../core/canonical-json.ts";
import { sha256Hex } from "../../core/digest.ts";
import { signEnvelope } from "../../core/dsse.ts";
import { formatInstant, MINUTE, parseInstant } from "../../core/instant.ts";
import type { Json } from "../../core/json.ts";
import { writeCatalog } from "../../artifact/cat/catalog.ts";
import { children, content, encoded, parseDer } from "../../der/reader.ts";
import { octets, sequence } from "../../der/writer.ts";
import { localSigner } from "../../keys/signer.ts";
import { openApproval, quorum, signApproval, subjectWord } from "../policy/approval.ts";
import { catalogOf } from "./catalog-list.ts";
import { openRequest, requestHash, signRequest, type SigningRequest } from "./request.ts";

const now = parseInstant("2026-11-21T12:00:00Z");
const own = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const other = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const context = { key: own.publicKey, user: "build", session: "a".repeat(64), signer: "signer-1", now };
const good: SigningRequest = {
  version: 1,
  id: "0".repeat(32),
  requester: "build",
  certificate: "release",
  operation: { kind: "cms", algorithm: "sha256", digest: "b".repeat(64), timestamp: false },
  file: { name: "a.bin", length: 1, sha256: "c".repeat(64) },
  created: formatInstant(now),
  expires: formatInstant(now + 10 * MINUTE),
  session: "a".repeat(64),
  signer: "signer-1",
};
const open = async (change: object, signer = own): Promise<SigningRequest> =>
  openRequest(await signRequest({ ...good, ...change } as SigningRequest, signer), context);

describe("a signing request", () => {
  it("opens when everything about it is right", async () => {
    assert.equal((await open({})).id, good.id);
  });

  const rows: readonly (readonly [string, object, string])[] = [
    ["of another requester", { requester: "alice" }, "signing/bad-request"],
    ["of another session (spliced or replayed)", { session: "d".repeat(64) }, "signing/bad-request"],
    ["for another signer", { signer: "signer-2" }, "signing/bad-request"],
    ["that would live for an hour", { expires: formatInstant(now + 60 * MINUTE) }, "signing/bad-request"],
    ["from the future", { created: formatInstant(now + 5 * MINUTE) }, "signing/bad-request"],
    [
      "that expired",
      { created: formatInstant(now - 10 * MINUTE), expires: formatInstant(now) },
      "signing/expired",
    ],
    [
      "with a digest of the wrong length",
      { operation: { ...good.operation, algorithm: "sha512" } },
      "signing/bad-request",
    ],
    ["with a member nobody knows", { more: 1 }, "schema/invalid"],
    ["with a line break in the file name", { file: { ...good.file, name: "a\nb" } }, "json/syntax"],
    [
      "in a list that does not hold it",
      { release: { root: "e".repeat(64), size: 2, index: 0, proof: ["f".repeat(64)] } },
      "signing/bad-request",
    ],
  ];
  const inside = (format: string, change: object): object => ({
    operation: {
      kind: "authenticode",
      format,
      algorithm: "sha256",
      digest: "b".repeat(64),
      timestamp: false,
      ...change,
    },
  });
  const CTL = "1.3.6.1.4.1.311.10.1";
  it("for a catalog says that its own list is signed, and nothing else", async () => {
    assert.equal((await open(inside("cat", { contentType: CTL }))).operation.kind, "authenticode");
    for (const [format, change] of [
      ["cat", {}],
      ["cat", { contentType: CTL, indirectData: "MAA=" }],
      ["cat", { contentType: CTL, pageHashes: { algorithm: "sha256", table: "AAAA" } }],
      ["pe", { contentType: CTL }],
      ["pe", { indirectData: "MAA=" }],
      ["msi", { contentType: CTL, indirectData: "MAA=" }],
      ["cab", {}],
    ] as const)
      await assert.rejects(open(inside(format, change)), { code: "signing/bad-request" }, format);
    await assert.rejects(open(inside("cat", { contentType: "1.2.3" })), { code: "schema/invalid" });
  });

  it("for a catalog carries the list that is to be signed, well formed, and no other", async () => {
    const member = (name: string) => ({
      name,
      kind: "file" as const,
      algorithm: "sha256" as const,
      digest: new Uint8Array(32).fill(7),
    });
    const made = (names: readonly string[]): Uint8Array =>
      writeCatalog(names.map(member), new Uint8Array(16), 0);
    const with_ = (list: Uint8Array, change: object = {}): object => ({
      operation: {
        kind: "authenticode",
        format: "cat",
        algorithm: "sha256",
        digest: sha256Hex(content(parseDer(list))),
        timestamp: false,
        contentType: CTL,
        list: toBase64(list),
        ...change,
      },
    });
    const list = made(["a.sys", "b.inf"]);
    const { operation } = await open(with_(list));
    assert.deepEqual(
      catalogOf(operation)!.members.map(({ name }) => name),
      ["a.sys", "b.inf"],
    );
    const refused = (change: object, message: RegExp): Promise<void> =>
      assert.rejects(open(change), { code: "signing/bad-request", message });
    await refused(
      with_(list, { list: toBase64(made(["c.sys"])) }),
      /not the one whose digest is to be signed/,
    );
    await refused(with_(list, { list: toBase64(list.subarray(0, -1)) }), /its list is not DER/);
    await refused(
      with_(sequence(octets(new Uint8Array(3)))),
      /its catalog is malformed: it is not the DER of one/,
    );
    const short = writeCatalog([{ ...member("a"), digest: new Uint8Array(31) }], new Uint8Array(16), 0);
    await refused(with_(short), /a digest has the wrong length/);
    const empty = sequence(...children(parseDer(list)).slice(0, 4).map(encoded), sequence());
    await refused(with_(empty), /it lists no file/);
    const long = made(Array.from({ length: 1200 }, (_, i) => `driver-${i}.sys`));
    await refused(with_(long), /more than 196608 bytes/);
    const { operation: named } = with_(list) as { operation: { contentType?: string } };
    const { contentType: _contentType, ...bare } = named;
    await refused({ operation: { ...bare, format: "pe" } }, /only a catalog has a list/);
  });

  for (const [name, change, code] of rows) {
    it(`${name} is refused`, () => assert.rejects(open(change), { code }));
  }

  it("signed with another key, or of another kind of document, is refused", async () => {
    await assert.rejects(open({}, other), { code: "dsse/no-valid-signature" });
    const approval = await signEnvelope("approval", canonicalJson(good as unknown as Json), [own]);
    assert.throws(() => openRequest(approval, context), { code: "dsse/wrong-type" });
  });

  it("keeps its hash through another session and at another time, and through nothing else", () => {
    assert.equal(requestHash({ ...good, session: "0".repeat(64), signer: "x" }), requestHash(good));
    const later = { created: formatInstant(now + MINUTE), expires: formatInstant(now + 2 * MINUTE) };
    assert.equal(requestHash({ ...good, ...later }), requestHash(good));
    assert.notEqual(requestHash({ ...good, id: "1".repeat(32) }), requestHash(good));
    assert.notEqual(requestHash({ ...good, certificate: "other" }), requestHash(good));
    assert.notEqual(requestHash({ ...good, file: { ...good.file, name: "b.bin" } }), requestHash(good));
  });
});

describe("an approval", () => {
  const yes = {
    version: 1,
    nonce: "1".repeat(32),
    approver: "bob",
    decision: "approve",
    subject: { kind: "request", sha256: requestHash(good) },
    created: formatInstant(now),
    expires: formatInstant(now + 60 * MINUTE),
    signer: "signer-1",
  } as const;
  const read = async (change: object) =>
    openApproval(await signApproval({ ...yes, ...change }, own), {
      keys: [own.publicKey],
      user: "bob",
      signer: "signer-1",
      now,
    });

  it("of somebody else, for another signer, too long, expired or from the future is refused", async () => {
    assert.equal((await read({})).approver, "bob");
    for (const [change, code] of [
      [{ approver: "carol" }, "signing/bad-approval"],
      [{ signer: "signer-2" }, "signing/bad-approval"],
      [{ expires: formatInstant(now + 48 * 60 * MINUTE) }, "signing/bad-approval"],
      [{ created: formatInstant(now + 5 * MINUTE) }, "signing/bad-approval"],
      [{ created: formatInstant(now - 5 * MINUTE), expires: formatInstant(now) }, "signing/expired"],
    ] as const) {
      await assert.rejects(read(change), { code });
    }
  });

  it("lives from a minute before its creation, by our clock, to the moment before its end, and a day at most", async () => {
    const DAY = 24 * 60 * MINUTE;
    const times = (created: number, expires: number) => ({
      created: formatInstant(created),
      expires: formatInstant(expires),
    });
    for (const good of [
      times(now + MINUTE, now + 2 * MINUTE),
      times(now, now + DAY),
      times(now - 1000, now + 1000),
    ])
      assert.equal((await read(good)).approver, "bob");
    for (const [change, code] of [
      [times(now + MINUTE + 1000, now + 5 * MINUTE), "signing/bad-approval"],
      [times(now, now + DAY + 1000), "signing/bad-approval"],
      [times(now, now), "signing/bad-approval"],
      [times(now, now - 1000), "signing/bad-approval"],
      [times(now - 1000, now), "signing/expired"],
    ] as const)
      await assert.rejects(read(change), { code }, JSON.stringify(change));
  });

  it("is named by what it is for, and a release by its length as well", () => {
    const root = "a".repeat(64);
    assert.equal(subjectWord({ kind: "request", sha256: root }), `request:${root}`);
    assert.equal(subjectWord({ kind: "release", root, size: 3 }), `release:${root}:3`);
  });

  it("counts once a person, never for the requester, never expired, and one no is a no", () => {
    const given = (user: string, decision: "approve" | "reject" = "approve", expires = now + 1) => ({
      user,
      nonce: user,
      decision,
      expires,
    });
    const rule = { needed: 2, approvers: ["bob", "carol", "build"], requester: "build", now };
    assert.equal(quorum([given("bob"), given("bob")], rule).state, "waiting");
    assert.equal(quorum([given("bob"), given("build")], rule).state, "waiting");
    assert.equal(quorum([given("bob"), given("eve")], rule).state, "waiting");
    assert.equal(quorum([given("bob"), given("carol", "approve", now)], rule).state, "waiting");
    assert.equal(quorum([given("bob"), given("carol")], rule).state, "reached");
    assert.equal(quorum([given("bob"), given("carol"), given("carol", "reject")], rule).state, "rejected");
  });
});
