// Tests of page-hash tables that come in parts: what is hashed is what would be signed, and nobody can hold the place or the memory.

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { sha256Hex } from "../../core/digest.ts";
import { MINUTE } from "../../core/instant.ts";
import { toHex } from "../../core/bytes.ts";
import { digest } from "../../artifact/cms-build.ts";
import { indirectDataOctets } from "../../artifact/authenticode.ts";
import { peIndirectData } from "../../artifact/pe/indirect.ts";
import { lengthFor, pageTable } from "../../testing/page-table.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import type { SigningRequest } from "./request.ts";
import { MAX_UPLOADS, MAX_UPLOADS_OF_USER, TableUploads } from "./tables.ts";

const table = pageTable(3000);
const image = new Uint8Array(48).fill(9);
const requestOf = (change: object = {}, id = "1".repeat(32)): SigningRequest =>
  ({
    id,
    file: { length: lengthFor(3000) },
    operation: {
      kind: "authenticode",
      format: "pe",
      algorithm: "sha384",
      digest: toHex(image),
      timestamp: false,
      pageHashes: { algorithm: "sha256", sha256: sha256Hex(table), length: table.length, ...change },
    },
  }) as unknown as SigningRequest;
const request = requestOf();
let clock: ScriptedClock;
let uploads: TableUploads;

beforeEach(() => {
  clock = new ScriptedClock(0);
  uploads = new TableUploads(clock);
});

function send(user: string, of: SigningRequest, bytes = table, step = 10_000): void {
  for (let at = 0; at < bytes.length; at += step)
    uploads.push(user, of.id, at, bytes.subarray(at, at + step));
}

describe("a table of page hashes that follows its request", () => {
  it("is hashed within the very structure that a signature covers, in parts of any size", () => {
    const whole = peIndirectData("sha384", image, { algorithm: "sha256", table });
    const expected = toHex(digest("sha384", indirectDataOctets(whole)));
    for (const step of [1000, 36, table.length]) {
      const of = requestOf({}, String(step).padStart(32, "0"));
      assert.equal(uploads.missing("build", of, "h"), 0);
      send("build", of, table, step);
      assert.equal(uploads.missing("build", of, "h"), null);
      assert.equal(toHex(uploads.contentDigest("build", of, "h")!), expected);
    }
  });

  it("goes on where it ended, whatever is sent twice", () => {
    uploads.missing("build", request, "h");
    assert.equal(uploads.push("build", request.id, 0, table.subarray(0, 500)), 500);
    assert.equal(uploads.push("build", request.id, 0, table.subarray(0, 500)), 500);
    assert.equal(uploads.missing("build", request, "h"), 500);
    assert.equal(uploads.push("build", request.id, 500, table.subarray(500)), table.length);
    assert.equal(uploads.missing("build", request, "h"), null);
  });

  it("is refused with a gap, with more than was promised, with nothing in a part, and when nobody awaits it", () => {
    const wrong = (at: number, part: Uint8Array, user = "build"): void =>
      assert.throws(() => uploads.push(user, request.id, at, part), { code: "signing/bad-request" });
    wrong(0, table);
    uploads.missing("build", request, "h");
    wrong(1, table.subarray(1));
    wrong(0, new Uint8Array(table.length + 1));
    wrong(0, new Uint8Array(0));
    wrong(0, table, "eve");
  });

  it("that is another one than the request names is refused, and has to come anew", () => {
    uploads.missing("build", request, "h");
    assert.throws(() => send("build", request, table.with(5, 255)), { code: "signing/bad-request" });
    assert.equal(uploads.contentDigest("build", request, "h"), null);
    assert.equal(uploads.missing("build", request, "h"), 0);
  });

  it("is refused at the first row that no program can have, and nothing more of it is taken", () => {
    const wrong = table.slice();
    new DataView(wrong.buffer).setUint32(36 * 1000, 7, true);
    const of = requestOf({ sha256: sha256Hex(wrong) });
    uploads.missing("build", of, "h");
    assert.equal(uploads.push("build", of.id, 0, wrong.subarray(0, 36 * 1000)), 36 * 1000);
    assert.throws(() => uploads.push("build", of.id, 36 * 1000, wrong.subarray(36 * 1000, 36 * 1001)), {
      code: "signing/bad-request",
      message: /^The table of page hashes is refused: its row 1000 is for the offset 7, which is not after/,
    });
    assert.throws(() => uploads.push("build", of.id, 36 * 1001, wrong.subarray(36 * 1001)), {
      message: /no table is awaited/,
    });
    assert.equal(uploads.contentDigest("build", of, "h"), null);
  });

  it("counts for the one request that it came for, and for its user", () => {
    uploads.missing("build", request, "h");
    send("build", request);
    assert.equal(uploads.contentDigest("build", request, "other hash"), null);
    assert.equal(uploads.contentDigest("eve", request, "h"), null);
    assert.equal(uploads.missing("build", request, "other hash"), 0);
  });

  it("waits for its turn when too many are on their way, and takes the place of one that nobody goes on with", async () => {
    const of = (user: string, n: number): number | null =>
      uploads.missing(user, requestOf({}, `${n}`.padStart(32, "0")), "h");
    for (let n = 0; n < MAX_UPLOADS_OF_USER; n++) assert.equal(of("build", n), 0);
    assert.throws(() => of("build", 99), { code: "signing/busy" });
    for (let n = MAX_UPLOADS_OF_USER; n < MAX_UPLOADS; n++) assert.equal(of(`user-${n}`, n), 0);
    assert.throws(() => of("last", 99), { code: "signing/busy" });
    await clock.advance(MINUTE + 1);
    assert.equal(of("last", 99), 0);
  });
});
