// Documents about a release: forms that are known, and statements about other bytes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toBase64, toUtf8 } from "../core/bytes.ts";
import {
  ATTESTATION_LIMIT,
  checkSubjects,
  makeProvenance,
  parseProvenance,
  parseSbom,
} from "./attestation.ts";

const refused = { code: "release/bad-attestation" };
const json = (value: unknown): Uint8Array => toUtf8(JSON.stringify(value));
const [one, two] = ["1".repeat(64), "2".repeat(64)] as const;
const made = (): Uint8Array =>
  makeProvenance({
    artifacts: [{ file: "shop-1.0.0-any", sha256: one }],
    source: "https://git.example/acme/shop",
    commit: "a".repeat(40),
    builder: "https://ci.example/jobs/7",
  });

describe("a bill of materials", () => {
  it("is CycloneDX or SPDX", () => {
    const cyclone = json({ bomFormat: "CycloneDX", specVersion: "1.6", components: [{ name: "zod" }] });
    assert.deepEqual(parseSbom(cyclone), { format: "CycloneDX 1.6", components: 1 });
    const spdx = json({ spdxVersion: "SPDX-2.3", packages: [{}, {}], creationInfo: { x: 1.5 } });
    assert.deepEqual(parseSbom(spdx), { format: "SPDX 2.3", components: 2 });
  });

  for (const [what, bytes] of [
    ["text", toUtf8("components: zod")],
    ["JSON of another kind", json({ components: [] })],
    ["a list", json([])],
    ["nothing", new Uint8Array(0)],
    ["not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d)],
    ["too long", new Uint8Array(ATTESTATION_LIMIT + 1).fill(0x20)],
  ] as const)
    it(`is not ${what}`, () => assert.throws(() => parseSbom(bytes), refused));
});

describe("a provenance", () => {
  it("that was made here says what it was told", () => {
    assert.deepEqual(parseProvenance(made()), {
      predicate: "https://slsa.dev/provenance/v1",
      subjects: [one],
      builder: "https://ci.example/jobs/7",
      source: "https://git.example/acme/shop",
      commit: "a".repeat(40),
    });
  });

  it("is read in an envelope and in a bundle as well", () => {
    const envelope = {
      payloadType: "application/vnd.in-toto+json",
      payload: toBase64(made()),
      signatures: [],
    };
    assert.equal(parseProvenance(json(envelope)).commit, "a".repeat(40));
    assert.equal(parseProvenance(json({ dsseEnvelope: envelope })).commit, "a".repeat(40));
    assert.throws(() => parseProvenance(json({ ...envelope, payload: "no base64" })), refused);
  });

  it("says who built what in the older form too", () => {
    const old = json({
      _type: "https://in-toto.io/Statement/v0.1",
      predicateType: "https://slsa.dev/provenance/v0.2",
      subject: [{ name: "x", digest: { sha256: two } }],
      predicate: {
        builder: { id: "urn:builder" },
        invocation: { configSource: { uri: "git+https://git.example/x", digest: { sha1: "b".repeat(40) } } },
      },
    });
    const { builder, source, commit } = parseProvenance(old);
    assert.deepEqual([builder, source, commit], ["urn:builder", "git+https://git.example/x", "b".repeat(40)]);
  });

  it("cannot write to the terminal of who reads it", () => {
    const statement = JSON.parse(Buffer.from(made()).toString()) as { predicate: { runDetails: unknown } };
    statement.predicate.runDetails = { builder: { id: "\u001b[2Jevil\nline" } };
    assert.equal(parseProvenance(json(statement)).builder, "?[2Jevil?line");
  });

  it("of other bytes than those that are published is refused, also if it names some of them", () => {
    const { subjects } = parseProvenance(made());
    checkSubjects({ subjects }, [{ file: "shop", sha256: one }]);
    assert.throws(
      () =>
        checkSubjects({ subjects }, [
          { file: "shop", sha256: one },
          { file: "shop.exe", sha256: two },
        ]),
      { ...refused, message: /shop\.exe/ },
    );
  });

  it("without subjects, with subjects without SHA-256, or of another predicate is refused", () => {
    const statement = JSON.parse(Buffer.from(made()).toString()) as { [name: string]: unknown };
    for (const change of [
      { subject: [] },
      { subject: [{ name: "x", digest: { sha1: "c".repeat(40) } }] },
      { predicateType: "https://example.org/other" },
      { _type: "https://in-toto.io/Statement/v9" },
    ])
      assert.throws(() => parseProvenance(json({ ...statement, ...change })), refused);
  });
});
