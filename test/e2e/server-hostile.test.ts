// Bodies that were changed on purpose: whatever arrives, the server refuses with a code and stays itself.

import assert from "node:assert/strict";
import { Agent, request, type RequestOptions } from "node:https";
import { after, before, describe, it } from "node:test";
import { toBase64, toHex } from "../../src/core/bytes.ts";
import { connectOptions } from "../../src/io/device/tls.ts";
import { enrolmentProof } from "../../src/message/enroll.ts";
import { signReport } from "../../src/report/report.ts";
import type { UpdateServer } from "../../src/apps/server/server.ts";
import { checkIn, csrOf, enroll, newKeys, nonce, World, type Device } from "./_server.ts";

let world: World;
let server: UpdateServer;
let device: Device;
let agent: Agent;
const endless = { burst: 1e9, refillMs: 1 };
before(async () => {
  world = await World.create();
  const quotas = { checkIns: endless, reports: endless, renewals: endless, badEnrolments: endless };
  server = await world.start({ quotas });
  device = await enroll(server, await world.token(server));
  agent = new Agent({ ...connectOptions(device.server, device.identity), keepAlive: true, maxSockets: 1 });
});
after(async () => {
  agent.destroy();
  device.client.close();
  await server.stop();
  world.remove();
});

function post(path: string, body: Uint8Array): Promise<{ status: number; text: string }> {
  const headers = { "content-type": "application/json", "content-length": body.length };
  const options: RequestOptions = { ...connectOptions(device.server), agent, method: "POST", path, headers };
  return new Promise((resolve, reject) => {
    const outgoing = request(options, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => resolve({ status: response.statusCode!, text }));
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** Repeatable chance (Mulberry32), so that a failure can be looked at again. */
function chance(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const ODD = [
  "null",
  "[]",
  "{}",
  "-1",
  "1e9",
  '""',
  '"\\u0000"',
  "[[[[[[]]]]]]",
  "9007199254740993",
  "true",
  '"\\ud800"',
];

/** A valid body with one thing wrong: a flipped byte, a missing piece, a repeated piece, or an odd value in the place of another. */
function mutate(body: string, random: () => number): Uint8Array {
  const bytes = Buffer.from(body);
  const at = Math.floor(random() * bytes.length);
  const length = 1 + Math.floor(random() * 20);
  const kind = Math.floor(random() * 4);
  if (kind === 0) {
    bytes[at] = Math.floor(random() * 256);
    return bytes;
  }
  if (kind === 1) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
  if (kind === 2) return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
  const values = [...body.matchAll(/:("[^"]*"|\d+|\[[^\]]*\]|\{[^}]*\})/g)];
  const value = values[Math.floor(random() * values.length)]!;
  const start = value.index + 1;
  const odd = ODD[Math.floor(random() * ODD.length)]!;
  return Buffer.from(body.slice(0, start) + odd + body.slice(start + value[1]!.length));
}

describe("a changed body", () => {
  const platform = { os: "linux", arch: "x64", libc: "glibc" };
  const bodies: { readonly [path: string]: () => Promise<object> } = {
    "/v1/enroll": async () => {
      const keys = newKeys();
      const csr = await csrOf(keys.tls);
      return {
        token: { id: "0123456789abcdef", secret: nonce() },
        csr: toBase64(csr),
        reportKey: toHex(keys.report.publicKey.spki.subarray(-32)),
        reportKeyProof: toBase64(await keys.report.sign(enrolmentProof(csr))),
        platform,
        name: "x",
      };
    },
    "/v1/check-in": async () => ({
      nonce: nonce(),
      platform,
      components: [{ product: "shop", version: "1.0.0" }],
    }),
    "/v1/reports": async () => {
      const report = {
        kind: "alarm",
        id: "1".repeat(32),
        device: device.id,
        sequence: 1,
        previous: null,
        issued: "2026-11-21T04:00:00Z",
        boot: "b".repeat(32),
        code: "agent/starved",
        since: "2026-11-21T04:00:00Z",
        reason: "no fresh metadata",
      } as const;
      return { reports: [toBase64((await signReport(report, device.keys.report)).envelope)] };
    },
    "/v1/certificate": async () => ({ csr: toBase64(await csrOf(newKeys().tls)) }),
  };

  for (const [path, make] of Object.entries(bodies)) {
    it(`of ${path} never makes the server fail`, async () => {
      const random = chance(path.length);
      const body = JSON.stringify(await make());
      const seen = new Map<number, number>();
      for (let i = 0; i < 150; i++) {
        const changed = mutate(body, random);
        const { status, text } = await post(path, changed);
        seen.set(status, (seen.get(status) ?? 0) + 1);
        assert.ok(status < 500, `${status} for ${Buffer.from(changed).toString("latin1")}`);
        if (status !== 200) assert.match(text, /^\{"code":"[a-z0-9-]+\/[a-z0-9-]+","message":/);
      }
      assert.ok((seen.get(400) ?? 0) > 50, JSON.stringify([...seen]));
    });
  }

  it("leaves the server as it was", async () => {
    await checkIn(device);
    assert.deepEqual(
      world.lines.filter((line) => line.level === "error"),
      [],
    );
  });
});
