// The messages between device and server: what they can say, and above all what they cannot.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { signEnvelope } from "../core/dsse.ts";
import type { GrowthError } from "../core/growth.ts";
import { parseInstant } from "../core/instant.ts";
import { localSigner } from "../keys/signer.ts";
import { openAssignment, signAssignment, type Assignment } from "./assignment.ts";
import { checkInAnswerSchema, checkInRequestSchema } from "./check-in.ts";
import { base64Schema, readGrowingMessage, readMessage, textSchema } from "./common.ts";
import { ROUTES } from "./routes.ts";
import { readWakeEvent, wakeEvent, wakeSchema } from "./wake.ts";

const director = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const device = "0a0b0c0d-0000-4000-8000-000000000001";
const nonce = randomBytes(32).toString("base64url");
const now = parseInstant("2026-11-21T04:00:00Z");
const assignment: Assignment = {
  device,
  nonce,
  issued: "2026-11-21T04:00:00Z",
  expires: "2026-11-21T05:00:00Z",
  components: [
    { product: "shop", channel: "stable", release: { version: "1.2.0", manifestSha256: "a".repeat(64) } },
    { product: "till", channel: "stable", hold: { reason: "paused", until: "2026-11-22T00:00:00Z" } },
  ],
};
const expected = { keys: [director.publicKey], device, nonce, now };
const code = (code: string) => ({ code });

describe("a wake-up", () => {
  it("says check and a sequence number", () => {
    assert.equal(
      wakeEvent({ type: "check", seq: 7 }),
      'id: 7\nevent: check\ndata: {"type":"check","seq":7}\n\n',
    );
  });

  for (const extra of ["url", "location", "version", "command", "product", "host", "path", "then"]) {
    it(`is invalid with a field ${extra} (arbitrary location)`, () => {
      const bytes = toUtf8(JSON.stringify({ type: "check", seq: 1, [extra]: "x" }));
      assert.throws(() => readMessage(bytes, wakeSchema, "wake-up", 256), code("schema/invalid"));
    });
  }

  for (const text of [
    '{"type":"run","seq":1}',
    '{"type":"check"}',
    '{"type":"check","seq":-1}',
    '{"type":"check","seq":1,"seq":2}',
    '{"type":"check","seq":1.5}',
    "[]",
    "",
  ]) {
    it(`is invalid as ${text === "" ? "nothing" : text}`, () => {
      assert.throws(() => readMessage(toUtf8(text), wakeSchema, "wake-up", 256));
    });
  }
});

describe("the stream of wake-ups", () => {
  it("grows by events of other names, which say nothing to this device whatever they hold", () => {
    assert.deepEqual(readWakeEvent(wakeEvent({ type: "check", seq: 7 }).trimEnd()), {
      type: "check",
      seq: 7,
    });
    assert.equal(readWakeEvent('event: later\ndata: {"url":"https://example.org/"}'), null);
    assert.equal(readWakeEvent(": heartbeat"), null);
  });

  it("ends with an event of the known name that holds more than a wake-up", () => {
    const more = 'event: check\ndata: {"type":"check","seq":1,"url":"https://example.org/"}';
    assert.throws(() => readWakeEvent(more), code("schema/invalid"));
  });
});

describe("an assignment", () => {
  it("is believed when it is signed, for this device, for this question and in time", async () => {
    assert.deepEqual(openAssignment(await signAssignment(assignment, director), expected), assignment);
  });

  it("is refused for another device", async () => {
    const other = { ...assignment, device: device.replace("1", "2").replace("0a", "0b") };
    const bytes = await signAssignment(other, director);
    assert.throws(() => openAssignment(bytes, expected), code("message/wrong-device"));
  });

  it("is refused when it answers another question (replay)", async () => {
    const bytes = await signAssignment(assignment, director);
    const asked = { ...expected, nonce: randomBytes(32).toString("base64url") };
    assert.throws(() => openAssignment(bytes, asked), code("message/wrong-nonce"));
  });

  it("is refused once expired, and before its time", async () => {
    const bytes = await signAssignment(assignment, director);
    const at = (text: string) => ({ ...expected, now: parseInstant(text) });
    assert.throws(() => openAssignment(bytes, at("2026-11-21T05:00:00Z")), code("message/expired"));
    assert.throws(() => openAssignment(bytes, at("2026-11-21T03:54:59Z")), code("message/from-the-future"));
    openAssignment(bytes, at("2026-11-21T03:55:00Z"));
  });

  it("that answers this very question is taken by a clock that is behind, up to the end of the trusted metadata", async () => {
    const bytes = await signAssignment(assignment, director);
    const yesterday = { ...expected, now: parseInstant("2026-11-20T04:00:00Z") };
    const until = (text: string) => ({ ...yesterday, freshUntil: parseInstant(text) });
    openAssignment(bytes, until("2026-11-21T04:00:00Z"));
    assert.throws(
      () => openAssignment(bytes, until("2026-11-21T03:54:59Z")),
      code("message/from-the-future"),
    );
    assert.throws(
      () => openAssignment(bytes, { ...yesterday, freshUntil: null }),
      code("message/from-the-future"),
    );
    // Metadata that has expired makes no clock behind that is right.
    assert.throws(
      () =>
        openAssignment(bytes, {
          ...expected,
          now: parseInstant("2026-11-21T05:00:00Z"),
          freshUntil: parseInstant("2026-11-20T00:00:00Z"),
        }),
      code("message/expired"),
    );
  });

  it("is refused when another key signed it, and when a signed document of another kind is offered", async () => {
    const stranger = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
    const forged = await signAssignment(assignment, stranger);
    assert.throws(() => openAssignment(forged, expected), code("dsse/no-valid-signature"));
    const report = await signEnvelope("report", toUtf8(JSON.stringify(assignment)), [director]);
    assert.throws(() => openAssignment(report, expected), code("dsse/wrong-type"));
  });

  it("is refused with one byte changed, wherever it is", async () => {
    const bytes = await signAssignment(assignment, director);
    for (let i = 0; i < bytes.length - 1; i += 13) {
      const changed = Uint8Array.from(bytes);
      changed[i]! ^= 1;
      assert.throws(() => openAssignment(changed, expected), `byte ${i}`);
    }
  });

  for (const [what, component] of [
    ["a location", { ...assignment.components[0], url: "https://example.org/" }],
    ["both a release and a hold", { ...assignment.components[0], hold: { reason: "paused" } }],
    ["neither", { product: "shop", channel: "stable" }],
    ["a reason of its own words", { product: "shop", channel: "stable", hold: { reason: "run rm -rf" } }],
    ["a product twice", assignment.components[1]],
  ] as const) {
    it(`is refused with ${what} in a component, though signed`, async () => {
      const body = { ...assignment, components: [...assignment.components, component] };
      const bytes = await signEnvelope("assignment", toUtf8(JSON.stringify(body)), [director]);
      assert.throws(() => openAssignment(bytes, expected), code("schema/invalid"));
    });
  }
});

describe("the messages of the table", () => {
  const request = { nonce, platform: { os: "linux", arch: "x64", libc: "glibc" }, components: [] };
  const answer = { assignment: "AAAA", interval: 60, seq: 0 };
  const read = (value: object) =>
    readGrowingMessage(toUtf8(JSON.stringify(value)), checkInRequestSchema, "check-in", 1000);
  const readAnswer = (value: object) =>
    readGrowingMessage(toUtf8(JSON.stringify(value)), checkInAnswerSchema, "answer", 1000);

  it("are read whatever a later version adds to them", () => {
    assert.deepEqual({ ...read(request) }, { ...request });
    assert.deepEqual({ ...read({ ...request, later: [1] }) }, { ...request, later: [1] });
    assert.equal(readAnswer({ ...answer, later: { deep: null } }).interval, 60);
  });

  it("refuse by name what they need and this version does not know, before anything else of them is read", () => {
    const needs = { features: ["follow-until", "from-tomorrow"], version: "7.0.0" };
    for (const reading of [() => read({ needs, nonce: 1 }), () => readAnswer({ needs })])
      assert.throws(reading, (error: GrowthError) => {
        assert.equal(error.code, "growth/needs-newer");
        assert.deepEqual([error.facts["unknown"], error.facts["version"]], [["from-tomorrow"], "7.0.0"]);
        assert.equal(error.nature, "transient");
        assert.match(error.message, /from-tomorrow.*7\.0\.0/);
        return true;
      });
    const known = { features: ["follow-until"], version: "0.1.0" };
    assert.equal(readAnswer({ ...answer, needs: known }).seq, 0);
    for (const needs of [{}, [], "x", { features: [], version: "1.0.0" }, { ...known, url: "x" }])
      assert.throws(() => readAnswer({ ...answer, needs }), code("schema/invalid"), JSON.stringify(needs));
  });

  it("have a limit each, and every path once", () => {
    const rows = Object.values(ROUTES);
    assert.equal(new Set(rows.map((row) => row.path)).size, rows.length);
    for (const row of rows) assert.ok(row.requestLimit > 0 && row.answerLimit > 0);
  });

  it("are refused above their limit before they are parsed, and taken at it", () => {
    const text = '{"type":"check","seq":1}';
    assert.equal(readMessage(toUtf8(text), wakeSchema, "wake-up", text.length).seq, 1);
    assert.throws(
      () => readMessage(new Uint8Array(11), wakeSchema, "wake-up", 10),
      code("message/too-large"),
    );
  });
});

describe("the shared vocabulary", () => {
  const accepts = (schema: Parameters<typeof readMessage>[1], value: string): boolean => {
    try {
      readMessage(toUtf8(JSON.stringify(value)), schema, "value", 10_000);
      return true;
    } catch {
      return false;
    }
  };

  it("takes one spelling of base64", () => {
    const schema = base64Schema(6);
    for (const good of ["AA==", "AAA=", "AAAA", "AAAAAAAA"]) assert.ok(accepts(schema, good), good);
    for (const bad of ["", "AB==", "AA", "A===", "AA=A", "AA-_", " AAAA", "AAAAAAAAAA=="]) {
      assert.ok(!accepts(schema, bad), bad);
    }
  });

  it("keeps control characters and direction marks out of texts", () => {
    const schema = textSchema(20);
    for (const good of ["", "two\nlines", "naïve ☃", "tab\t"]) assert.ok(accepts(schema, good), good);
    for (const bad of ["\u001b[31m", "\r", "\u0000", "a\u202eb", "x".repeat(21)])
      assert.ok(!accepts(schema, bad));
  });
});
