// Tests of time stamps: what is believed, and how one is asked for.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as oids from "../der/oids.ts";
import { DAY } from "../core/instant.ts";
import { publisherPki, type Pki, type PkiWish } from "../testing/publisher-pki.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import { answerLegacyTimestamp, answerTimestamp, type Lies } from "../testing/timestamp-authority.ts";
import { tinyPe } from "../testing/tiny-pe.ts";
import { ArtifactError } from "./errors.ts";
import { HungError, requestLegacyTimestamp, requestTimestamp } from "./timestamp-request.ts";
import { valueToStamp, withLegacyTimestamp } from "./authenticode-sign.ts";
import { signPe } from "./pe/sign.ts";
import { bytesSource, MemorySink } from "./source.ts";
import type { FileReport } from "./report.ts";
import { now, random, sign, verify, codes, make } from "../testing/pe-signing.ts";

describe("a time stamp is refused", () => {
  const stampCodes = async (
    lies: Lies,
    wish: Partial<PkiWish> = {},
    at = now,
  ): Promise<readonly string[]> => {
    const pki = await publisherPki({ now, ...wish });
    const report = await verify(await sign(tinyPe(), pki, { stamp: { at, lies } }), pki);
    assert.deepEqual(codes(report), ["signature/timestamp-invalid"]);
    return report.signatures[0]!.timestamps[0]!.findings.map((finding) => finding.code);
  };

  it("over another signature", async () =>
    assert.deepEqual(await stampCodes({ imprint: new Uint8Array(32) }), ["timestamp/imprint-mismatch"]));
  it("that does not bind its certificate", async () =>
    assert.deepEqual(await stampCodes({ unbound: true }), ["timestamp/unbound"]));
  it("from the future", async () =>
    assert.deepEqual(await stampCodes({ time: now + DAY }), ["timestamp/in-the-future"]));
  it("of an authority without the sole purpose", async () => {
    assert.deepEqual(await stampCodes({}, { stamper: { eku: [oids.timeStamping, oids.codeSigning] } }), [
      "chain/extended-key-usage",
    ]);
  });
  it("made outside the authority's validity", async () => {
    assert.deepEqual(await stampCodes({}, { stamper: { notAfter: now - DAY } }), ["chain/expired"]);
  });
});

describe("asking for a time stamp", () => {
  const ask = async (
    behaviour: (
      url: string,
      body: Uint8Array,
      pki: Pki,
      call: number,
    ) => Promise<{ status: number; body: Uint8Array; retryAfter?: number }>,
    urls = ["a", "b"],
  ): Promise<{ token: Uint8Array; calls: readonly string[]; slept: number }> => {
    const pki = await publisherPki({ now });
    const clock = new ScriptedClock(now);
    const calls: string[] = [];
    const wish = {
      urls,
      hash: "sha256",
      clock,
      random,
      roots: [pki.root.certificate],
      transport: {
        post: (url: string, _type: string, body: Uint8Array) => {
          calls.push(url);
          return behaviour(url, body, pki, calls.length);
        },
      },
    } as const;
    const result = requestTimestamp(Uint8Array.of(1, 2, 3), wish);
    result.catch(() => {});
    for (let i = 0; i < 12; i++) await clock.advance(10_000);
    return { token: await result, calls, slept: clock.monotonic() };
  };

  it("does not ask an authority again that hung, and tells what it did at once", async () => {
    const pki = await publisherPki({ now });
    const heard: string[] = [];
    const calls: string[] = [];
    await assert.rejects(
      requestTimestamp(Uint8Array.of(1), {
        urls: ["a"],
        hash: "sha256",
        clock: new ScriptedClock(now),
        random,
        roots: [pki.root.certificate],
        tell: (what) => heard.push(what),
        transport: {
          post: async (url) => {
            calls.push(url);
            throw new HungError("gave no answer within 20 seconds");
          },
        },
      }),
      (error) => error instanceof ArtifactError && error.code === "artifact/no-timestamp",
    );
    assert.deepEqual(calls, ["a"]);
    assert.deepEqual(heard, ["timestamp authority a: gave no answer within 20 seconds"]);
  });

  it("falls back to the next authority at once", async () => {
    const { calls } = await ask(async (url, body, pki) =>
      url === "a"
        ? { status: 503, body: new Uint8Array(0) }
        : answerTimestamp(body, pki.stamper, [pki.root], now),
    );
    assert.deepEqual(calls, ["a", "b"]);
  });

  it("comes back later when all are busy", async () => {
    const { calls } = await ask(async (_url, body, pki, call) =>
      call <= 4
        ? { status: 429, body: new Uint8Array(0), retryAfter: 20 }
        : answerTimestamp(body, pki.stamper, [pki.root], now),
    );
    assert.deepEqual(calls, ["a", "b", "a", "b", "a"]);
  });

  for (const [name, lies] of Object.entries({
    "another nonce": { nonce: Uint8Array.of(1) },
    "another imprint": { imprint: new Uint8Array(32) },
    "a refusal": { status: 2 },
    "no bound certificate": { unbound: true },
  } satisfies Record<string, Lies>)) {
    it(`refuses a reply with ${name}`, async () => {
      await assert.rejects(
        ask((_url, body, pki) => answerTimestamp(body, pki.stamper, [pki.root], now, lies), ["a"]),
        (error) => error instanceof ArtifactError && error.code === "artifact/no-timestamp",
      );
    });
  }

  it("refuses rubbish with its own error", async () => {
    await assert.rejects(
      ask(async () => ({ status: 200, body: new TextEncoder().encode("<html>") }), ["a"]),
      (error) => error instanceof ArtifactError && error.code === "artifact/no-timestamp",
    );
  });
});

describe("an old-style countersignature", () => {
  it("is made on demand, believed when it is in order, and refused over another signature", async () => {
    const pki = await publisherPki({ now, leaf: { notBefore: now - 20 * DAY, notAfter: now - 10 * DAY } });
    const clock = new ScriptedClock(now);
    const transport = {
      post: (_url: string, _type: string, body: Uint8Array) =>
        answerLegacyTimestamp(body, pki.stamper, [pki.root], now - 15 * DAY),
    };
    const stamp = (value: Uint8Array): ReturnType<typeof requestLegacyTimestamp> =>
      requestLegacyTimestamp(value, { urls: ["old"], hash: "sha256", transport, clock, random });
    const stamped = async (value: (cms: Uint8Array) => Uint8Array): Promise<FileReport> => {
      const sink = new MemorySink();
      await signPe({
        source: bytesSource(tinyPe()),
        sink,
        mode: "new",
        hash: "sha256",
        makeSignature: async (what) => {
          const cms = await make(what, pki, {});
          return withLegacyTimestamp(cms, await stamp(value(cms)));
        },
      });
      return verify(sink.bytes, pki);
    };
    const good = await stamped(valueToStamp);
    assert.deepEqual(codes(good), []);
    assert.equal(good.signatures[0]!.signedAt, now - 15 * DAY);
    assert.equal(good.signatures[0]!.timestamps[0]!.kind, "legacy");
    assert.deepEqual(codes(await stamped(() => new Uint8Array(64))), [
      "signature/timestamp-invalid",
      "chain/expired",
    ]);
  });
});
