// The envelope: what it signs, and everything it refuses.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { localSigner } from "../keys/signer.ts";
import { fromUtf8, toBase64, toUtf8 } from "./bytes.ts";
import { DsseError, payloadType, preAuthEncoding, signEnvelope, verifyEnvelope } from "./dsse.ts";

const newSigner = () => localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const [one, two] = [newSigner(), newSigner()];
const body = toUtf8('{"hello":"world"}');
const limit = 10_000;
const refusal = (code: string) => (error: unknown) => error instanceof DsseError && error.code === code;
const edit = (bytes: Uint8Array, change: (envelope: Record<string, unknown>) => void): Uint8Array => {
  const envelope = JSON.parse(fromUtf8(bytes)) as Record<string, unknown>;
  change(envelope);
  return toUtf8(JSON.stringify(envelope));
};

describe("a DSSE envelope", () => {
  it("signs the encoding of the protocol's own example", () => {
    assert.equal(
      fromUtf8(preAuthEncoding("http://example.com/HelloWorld", toUtf8("hello world"))),
      "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
    );
  });

  it("gives back the very bytes that were signed, and who signed them", async () => {
    const bytes = await signEnvelope("report", body, [one, two]);
    const verified = verifyEnvelope(bytes, "report", [one.publicKey, two.publicKey], { limit, threshold: 2 });
    assert.deepEqual(verified.body, body);
    assert.deepEqual([...verified.keyids].sort(), [one.publicKey.keyid, two.publicKey.keyid].sort());
  });

  it("of one kind is refused as another", async () => {
    const bytes = await signEnvelope("report", body, [one]);
    assert.throws(
      () => verifyEnvelope(bytes, "release", [one.publicKey], { limit }),
      refusal("dsse/wrong-type"),
    );
    const retyped = edit(bytes, (envelope) => (envelope["payloadType"] = payloadType("release")));
    assert.throws(
      () => verifyEnvelope(retyped, "release", [one.publicKey], { limit }),
      refusal("dsse/no-valid-signature"),
    );
  });

  it("is refused with any byte of the payload or signature changed", async () => {
    const bytes = await signEnvelope("report", body, [one]);
    const other = edit(bytes, (envelope) => (envelope["payload"] = toBase64(toUtf8('{"hello":"World"}'))));
    assert.throws(
      () => verifyEnvelope(other, "report", [one.publicKey], { limit }),
      refusal("dsse/no-valid-signature"),
    );
    for (let at = 0; at < bytes.length - 1; at++) {
      const mutated = Uint8Array.from(bytes);
      mutated[at]! ^= 1;
      assert.throws(
        () => verifyEnvelope(mutated, "report", [one.publicKey], { limit }),
        (error) => error instanceof Error,
        `byte ${at}`,
      );
    }
  });

  it("is refused when a stranger signed it, or nobody trusted enough", async () => {
    const bytes = await signEnvelope("report", body, [two]);
    assert.throws(
      () => verifyEnvelope(bytes, "report", [one.publicKey], { limit }),
      refusal("dsse/no-valid-signature"),
    );
    assert.throws(
      () => verifyEnvelope(bytes, "report", [one.publicKey, two.publicKey], { limit, threshold: 2 }),
      refusal("dsse/no-valid-signature"),
    );
  });

  it("counts one key once, signed twice or listed under two ids", async () => {
    const twice = await signEnvelope("report", body, [one, one]);
    assert.throws(
      () => verifyEnvelope(twice, "report", [one.publicKey], { limit, threshold: 2 }),
      refusal("dsse/no-valid-signature"),
    );
    const alias = { ...one.publicKey, keyid: "alias" };
    const both = await signEnvelope("report", body, [one, { publicKey: alias, sign: one.sign }]);
    assert.throws(
      () => verifyEnvelope(both, "report", [one.publicKey, alias], { limit, threshold: 2 }),
      refusal("dsse/no-valid-signature"),
    );
  });

  it("is refused above its size limit before it is parsed, and taken at the limit", async () => {
    const bytes = await signEnvelope("report", body, [one]);
    assert.ok(verifyEnvelope(bytes, "report", [one.publicKey], { limit: bytes.length }));
    assert.throws(
      () => verifyEnvelope(bytes, "report", [one.publicKey], { limit: bytes.length - 1 }),
      refusal("dsse/too-large"),
    );
  });

  it("may carry sixteen signatures", async () => {
    const sixteen = await signEnvelope("report", body, Array<typeof one>(16).fill(one));
    assert.ok(verifyEnvelope(sixteen, "report", [one.publicKey], { limit }));
  });

  for (const text of ["null", "[]", "1", '"text"', "", "{}"]) {
    it(`is refused as ${text === "" ? "nothing" : text}`, () => {
      assert.throws(
        () => verifyEnvelope(toUtf8(text), "report", [one.publicKey], { limit }),
        refusal("dsse/malformed"),
      );
    });
  }

  const first = (envelope: Record<string, unknown>) =>
    (envelope["signatures"] as Record<string, unknown>[])[0]!;
  const cases: readonly (readonly [string, (envelope: Record<string, unknown>) => void])[] = [
    ["an unknown member", (envelope) => (envelope["extra"] = 1)],
    ["no signature", (envelope) => (envelope["signatures"] = [])],
    [
      "seventeen signatures",
      (envelope) => (envelope["signatures"] = Array(17).fill((envelope["signatures"] as unknown[])[0])),
    ],
    [
      "an unknown member in a signature",
      (envelope) => ((envelope["signatures"] as Record<string, unknown>[])[0]!["x"] = 1),
    ],
    ["a payload with white space", (envelope) => (envelope["payload"] = `${String(envelope["payload"])}\n`)],
    ["a payload that is not a text", (envelope) => (envelope["payload"] = 1)],
    ["a type that is not a text", (envelope) => (envelope["payloadType"] = 1)],
    ["signatures that are no list", (envelope) => (envelope["signatures"] = "AAAA")],
    ["signatures by number", (envelope) => (envelope["signatures"] = { 0: first(envelope), length: 1 })],
    ["a signature that is not an object", (envelope) => (envelope["signatures"] = [null])],
    ["a key id that is not a text", (envelope) => (first(envelope)["keyid"] = 1)],
    ["a signature that is not a text", (envelope) => (first(envelope)["sig"] = 1)],
    ["a signature that is not base64", (envelope) => (first(envelope)["sig"] = "?")],
  ];
  for (const [what, change] of cases) {
    it(`is refused with ${what}`, async () => {
      const bytes = edit(await signEnvelope("report", body, [one]), change);
      assert.throws(
        () => verifyEnvelope(bytes, "report", [one.publicKey], { limit }),
        refusal("dsse/malformed"),
      );
    });
  }
});
