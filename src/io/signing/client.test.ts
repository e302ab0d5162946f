// The signing service from client to receipt, through a real relay.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { toBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { verifyLog } from "../../signing/audit/verify.ts";
import type { AuditEntry } from "../../signing/audit/entry.ts";
import { newId, SigningRig, until, wishFor } from "../../testing/signing-rig.ts";
import { encodeFrame } from "../../signing/wire/frame.ts";
import { encodeMessage, type CallBody } from "../../signing/wire/protocol.ts";
import { systemClock } from "../system/clock.ts";
import { FrameDuplex, nextFrame } from "./frame-stream.ts";
import { connectPinned, handshake } from "./pinned-tls.ts";
import { systemDisk } from "../system/disk.ts";
import { CONFIG, identity, rawWish, startRig, token } from "../../testing/signing-people.ts";

let rig: SigningRig;
before(async () => {
  rig = await startRig();
});
after(() => rig.close());

const entries = () => rig.entries();
const lastOf = async (kind: AuditEntry["kind"]): Promise<AuditEntry> =>
  (await entries()).findLast((e) => e.kind === kind)!;

describe("the signing service", () => {
  it("signs a digest, returns a receipt, and the client checks both", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const signed = await client.sign(wishFor(toUtf8("hello")), offered);
    assert.equal(signed.state, "signed");
    assert.ok(signed.state === "signed" && signed.receipt.startsWith("c2sp.org/tlog-proof@v1\n"));
    const all = await entries();
    const intent = all.findLast((e) => e.kind === "intent")!;
    const result = all.findLast((e) => e.kind === "result")!;
    assert.ok(intent.n < result.n);
    assert.equal(intent.kind === "intent" && intent.user, "build");
  });

  it("gives the same answer to the same request and signs it once", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const made = rig.keys.made;
    const wish = wishFor(toUtf8("once"), "once.bin", newId());
    const [a, b] = await Promise.all([client.sign(wish, offered), client.sign(wish, offered)]);
    assert.equal(rig.keys.made, made + 1);
    assert.ok(a.state === "signed" && b.state === "signed" && toHex(a.reply) === toHex(b.reply));
    await assert.rejects(client.sign({ ...wishFor(toUtf8("another"), "x.bin"), id: wish.id! }, offered), {
      code: "signing/bad-request",
    });
  });

  it("loses nothing and signs each once when signer and relay restart in the middle of 60 files", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const before = (await entries()).filter((e) => e.kind === "result").length;
    const files = Array.from({ length: 60 }, (_, i) =>
      client.sign(wishFor(toUtf8(`file ${i}`), `f${i}.bin`), offered),
    );
    await Promise.race(files);
    await rig.stopSigner();
    await rig.startSigner();
    await rig.relay.close();
    await rig.startRelay();
    const outcomes = await Promise.all(files);
    assert.ok(outcomes.every((outcome) => outcome.state === "signed"));
    const results = (await entries()).filter((e) => e.kind === "result");
    assert.equal(results.length - before, 60);
    const verdict = await verifyLog(systemDisk, `${rig.folder}/audit`, rig.logKey);
    assert.deepEqual(
      verdict.faults.filter((fault) => fault.what !== "tile-changed"),
      [],
    );
  });

  it("shows the same refusal for an unknown and for a forbidden certificate, and tells them apart in the log", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const refusals: string[] = [];
    const reasons: string[] = [];
    for (const certificate of ["slow", "never-existed"]) {
      const error = await client
        .sign({ ...wishFor(toUtf8("x")), certificate }, offered)
        .catch((e: Error & { code: string }) => e);
      assert.ok(error instanceof Error);
      refusals.push(`${(error as Error & { code: string }).code} ${error.message}`);
      const entry = await lastOf("denied");
      reasons.push(entry.kind === "denied" ? entry.reasons.join() : "");
    }
    assert.equal(refusals[0], refusals[1]);
    assert.match(refusals[0]!, /^signing\/denied/);
    assert.match(reasons[0]!, /does not allow cms/);
    assert.match(reasons[1]!, /no such certificate/);
  });

  it("lets parallel requests share one limit, not pass it together", async () => {
    const client = rig.client();
    const offered = await client.certificate("limited");
    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, (_, i) =>
        client.sign({ ...rawWish(`limited ${i}`), certificate: "limited" }, offered),
      ),
    );
    assert.equal(outcomes.filter((outcome) => outcome.status === "fulfilled").length, 3);
  });

  it("tells the outcome of a request that is just being signed to nobody but the one who asked for it", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const id = newId();
    let [release, reached] = [(): void => {}, (): void => {}];
    const held = new Promise<void>((resolve) => (release = resolve));
    const atKey = new Promise<void>((resolve) => (reached = resolve));
    rig.keys.before = async () => {
      reached();
      await held;
    };
    try {
      const made = rig.keys.made;
      const mine = client.sign(wishFor(toUtf8("mine"), "mine.bin", id), offered);
      await atKey;
      const asker = { user: "bob", session: newId(), address: "192.0.2.9" };
      const others = rig.service.status(id, asker);
      const another = client.sign(wishFor(toUtf8("another"), "another.bin", id), offered);
      const refused = [
        assert.rejects(others, { code: "signing/denied" }),
        assert.rejects(another, { code: "signing/bad-request" }),
      ];
      release();
      assert.equal((await mine).state, "signed");
      await Promise.all(refused);
      assert.equal(rig.keys.made, made + 1);
    } finally {
      rig.keys.before = async () => {};
    }
  });

  it("ends live sessions of a user who is disabled", async () => {
    const client = rig.client();
    await client.certificates();
    await rig.service.reconfigure(
      rig.settings(CONFIG.replace('kind = "machine"', 'kind = "machine"\ndisabled = true')),
      "test",
    );
    await rig.dialler.review();
    await assert.rejects(client.certificates(), (error: { code: string }) =>
      ["signing/unreachable", "signing/refused"].includes(error.code),
    );
    await assert.rejects(rig.client().certificates(), { code: "signing/refused" });
    await rig.service.reconfigure(rig.settings(), "test");
    assert.equal((await rig.client().certificates()).length > 0, true);
  });

  it("keeps other keys fast while 500 requests wait for a stuck one", async () => {
    let release = (): void => {};
    const stuck = new Promise<void>((resolve) => (release = resolve));
    rig.keys.before = (key) => (key === "other" ? stuck : Promise.resolve());
    const client = rig.client({ patience: 0 });
    const other = rig.client();
    const offered = await other.certificate("release");
    const slowOffer = await other.certificate("slow");
    const slow = Array.from({ length: 250 }, (_, i) =>
      client
        .sign(
          {
            certificate: "slow",
            operation: {
              kind: "raw",
              scheme: "ed25519",
              message: toBase64(toUtf8(`m${i}`)),
              purpose: "test",
            },
            file: { name: "m", length: 2, sha256: sha256Hex(toUtf8(`m${i}`)) },
          },
          slowOffer,
        )
        .catch((error: { code: string }) => error.code),
    );
    let served = 0;
    for (const each of slow) void each.then((outcome) => typeof outcome !== "string" && served++);
    const fast = await Promise.all(
      Array.from({ length: 250 }, (_, i) => other.sign(wishFor(toUtf8(`fast ${i}`)), offered)),
    );
    // The stuck key is still stuck: the others did not wait for it.
    assert.ok(fast.every((outcome) => outcome.state === "signed"));
    assert.equal(served, 0);
    release();
    rig.keys.before = async () => {};
    await client.close();
    await Promise.all(slow);
  });
});

describe("one client among others", () => {
  it("with 500 requests does not keep one with a single request waiting (fairness)", async () => {
    rig.keys.before = () => systemClock.sleep(4);
    try {
      const busy = rig.client();
      const word = await token("https://ci.example", {});
      const small = rig.client({
        identity: await identity(),
        signIn: async () => ({ method: "oidc", token: word }),
      });
      const offered = await busy.certificate("release");
      await small.certificates();
      let done = 0;
      const many = Array.from({ length: 500 }, (_, i) =>
        busy.sign(wishFor(toUtf8(`many ${i}`)), offered).then(() => done++),
      );
      await until("some are done", () => done >= 5);
      const before = done;
      assert.equal((await small.sign(wishFor(toUtf8("the one")), offered)).state, "signed");
      assert.ok(done - before < 100, `${done - before} others were signed meanwhile`);
      await Promise.all(many);
      assert.equal(done, 500);
    } finally {
      rig.keys.before = async () => {};
    }
  });

  it("that asks and never reads the answers is not asked for more, and the signer's memory stays small", async () => {
    // No budget of the gateway ends it: the signer itself must not take more than it can get rid of.
    const wide = await SigningRig.start({
      config: CONFIG,
      gateway: "[limits]\nsession-bytes = 1073741824\n",
    });
    try {
      const raw = await innerSession(wide);
      raw.call(1, { type: "hello", versions: [1], client: "test" });
      raw.call(2, { type: "sign-in", method: "key" });
      const signer = wide.signers[0]!;
      const from = signer.calls;
      await until(
        "it is signed in",
        () => signer.calls >= from && [...signer.sessions].at(-1)?.user === "build",
      );
      raw.inner.pause();
      const ask = 40_000;
      for (let seq = 3; seq < ask; seq++) raw.call(seq, { type: "certificates" });
      let last = -1;
      await until("it stands still", async () => {
        const still = signer.calls === last;
        last = signer.calls;
        if (!still) await systemClock.sleep(200);
        return still;
      });
      assert.ok(last - from < ask / 2, `${last - from} calls were worked on`);
      assert.ok(!raw.outer.destroyed);
      raw.outer.destroy();
      // What was never read does not keep the session open either.
      await until("the session ended", () => [...signer.sessions].every(({ ended }) => ended), 5000);
    } finally {
      await wide.close();
    }
  });
});

/** A session with the signer whose client does what the test says, past all that an honest one observes. */
async function innerSession(rig: SigningRig) {
  const [host, port] = ["127.0.0.1", rig.ports.clients];
  const outer = await connectPinned({ host, port, pin: rig.gatewayIdentity.spki }, rig.clientIdentity);
  outer.on("error", () => {});
  outer.write(encodeFrame({ type: "hello", session: 0n, payload: toUtf8('{"role":"client","signer":"*"}') }));
  const { session } = await nextFrame(outer, "open", 5000);
  const duplex = new FrameDuplex(outer, session);
  const inner = await handshake(duplex, rig.signers[0]!.identity.spki, rig.clientIdentity, "the signer");
  inner.on("error", () => {});
  inner.resume();
  return {
    outer,
    inner,
    call: (seq: number, body: CallBody) => inner.write(encodeMessage({ seq, ...body })),
  };
}

describe("a stranger", () => {
  it("who gets through the gateway and does not sign in is sent away in time", async () => {
    const short = await SigningRig.start({ config: CONFIG, signInWithin: 300 });
    try {
      const signed = await innerSession(short);
      signed.call(1, { type: "hello", versions: [1], client: "test" });
      signed.call(2, { type: "sign-in", method: "key" });
      const stranger = await innerSession(short);
      stranger.call(1, { type: "hello", versions: [1], client: "test" });
      await new Promise((resolve) => stranger.outer.once("close", resolve));
      assert.ok(!signed.outer.destroyed);
      signed.outer.destroy();
    } finally {
      await short.close();
    }
  });
});

describe("raw signing", () => {
  it("of bytes that are not what the request says is refused", async () => {
    const build = rig.client();
    const offered = await build.certificate("approved");
    const lie = { ...rawWish('{"_type":"root"}').operation, purpose: "tuf/targets" };
    await assert.rejects(build.sign({ ...rawWish("x"), operation: lie }, offered), {
      code: "signing/bad-request",
    });
    await assert.rejects(build.sign(rawWish('{"_type":"root"}'), offered), { code: "signing/bad-request" });
  });
});
