// What a release may say of sockets and of its hand-over, and what it may not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { UpkeepError } from "../core/errors.ts";
import { sampleManifest } from "./_sample.ts";
import { parseRelease, serialiseRelease, type ReleaseManifest } from "./manifest.ts";
import { parseSocketPlace } from "./sockets.ts";

const SAMPLE = sampleManifest();
const SOCKETS = [{ name: "http", address: "tcp:8080" }];
const NEEDS = { features: ["sockets"], version: "0.1.0" };
const HAND_OVER = { drainSeconds: 30, ready: "probe" } as const;

function codeOf(changes: Partial<ReleaseManifest>): string {
  try {
    parseRelease(serialiseRelease({ ...SAMPLE, ...changes }));
    return "ok";
  } catch (error) {
    if (error instanceof UpkeepError) return error.code;
    throw error;
  }
}

describe("the address of a socket", () => {
  for (const [text, place] of [
    ["tcp:8080", { kind: "tcp", host: null, port: 8080 }],
    ["tcp:127.0.0.1:1", { kind: "tcp", host: "127.0.0.1", port: 1 }],
    ["tcp:[::1]:65535", { kind: "tcp", host: "::1", port: 65_535 }],
    ["unix:/run/shop/http.sock", { kind: "unix", path: "/run/shop/http.sock" }],
  ] as const)
    it(`${text} is read`, () => assert.deepEqual(parseSocketPlace(text), place));

  for (const text of [
    "8080",
    "tcp:0",
    "tcp:08080",
    "tcp:65536",
    "tcp:256.0.0.1:80",
    "tcp:127.0.0.01:80",
    "tcp:localhost:80",
    "tcp:::1:80",
    "udp:80",
    "unix:run/shop",
    "unix:/run/../etc/shop",
    "unix:/run//shop",
    "unix:/run/shop/",
    `unix:/run/${"x".repeat(103)}`,
    "unix:@abstract",
  ])
    it(`${text.slice(0, 40)} is refused`, () => assert.equal(parseSocketPlace(text), null));

  it("may be as long as the kernel takes it, and no longer", () => {
    assert.notEqual(parseSocketPlace(`unix:/run/${"x".repeat(102)}`), null);
  });
});

describe("a release", () => {
  it("with sockets and a hand-over is read as it was written", () => {
    assert.equal(codeOf({ needs: NEEDS, sockets: SOCKETS, handOver: HAND_OVER }), "ok");
  });

  it("cannot put a socket file anywhere but below /run, where the agent of root would make it", () => {
    const at = (address: string) => codeOf({ needs: NEEDS, sockets: [{ name: "http", address }] });
    assert.equal(at("unix:/run/shop.sock"), "ok");
    assert.equal(at("unix:/etc/cron.d/shop"), "schema/invalid");
  });

  it("cannot name two sockets alike", () => {
    assert.equal(codeOf({ needs: NEEDS, sockets: [...SOCKETS, ...SOCKETS] }), "schema/invalid");
  });

  it("with sockets that does not say that it needs them is refused: an old agent would start it without", () => {
    assert.equal(codeOf({ sockets: SOCKETS }), "release/bad-hand-over");
    assert.equal(
      codeOf({ needs: { ...NEEDS, features: ["needs"] }, sockets: SOCKETS }),
      "release/bad-hand-over",
    );
  });

  it("needs no word for a hand-over alone: an old agent ends the one version before it starts the other", () => {
    assert.equal(codeOf({ handOver: HAND_OVER }), "ok");
  });

  it("of which nobody sees whether it serves cannot hand over, unless it says so itself", () => {
    const health = { ...SAMPLE.health!, kind: "running" } as const;
    const { path: _, port: __, ...running } = health as typeof health & { path?: unknown; port?: unknown };
    assert.equal(codeOf({ health: running, handOver: HAND_OVER }), "release/bad-hand-over");
    assert.equal(codeOf({ health: running, handOver: { ...HAND_OVER, ready: "notify" } }), "ok");
  });

  it("that is a job has neither sockets nor a hand-over", () => {
    const { path: _, port: __, ...rest } = SAMPLE.health as Extract<typeof SAMPLE.health, { kind: "http" }>;
    const health = { ...rest, kind: "exit-code" } as const;
    assert.equal(codeOf({ health, handOver: HAND_OVER }), "release/bad-hand-over");
    assert.equal(codeOf({ health, needs: NEEDS, sockets: SOCKETS }), "release/bad-hand-over");
  });
});
