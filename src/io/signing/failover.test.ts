// Two gateways and two signers, one of which is down, busy, broken, gone for good, or comes back.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex, toUtf8, toBase64 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { SigningError } from "../../signing/errors.ts";
import { homeOf } from "../../signing/wire/failover.ts";
import { digestWord } from "../../signing/request/operation.ts";
import { listRoot } from "../../signing/request/request.ts";
import type { RigSigner } from "../../testing/rig-signer.ts";
import { newId, SigningRig, until, wishFor, type RigOptions } from "../../testing/signing-rig.ts";
import type { SignedFile, SigningClient } from "./client.ts";
import { generateKeyPairSync } from "node:crypto";
import { systemClock } from "../system/clock.ts";

const CONFIG = `
[users.build]
kind = "machine"
roles = ["requester", "approver"]
keys = ["@ci"]
[keys.release]
custody = "file"
scheme = "ecdsa-sha2-nistp256"
[keys.other]
custody = "file"
scheme = "ed25519"
[certificates.release]
key = "release"
[certificates.release.policy.default]
users = ["build"]
operations = ["cms"]
[certificates.approved]
key = "release"
[certificates.approved.policy.default]
users = ["build"]
operations = ["raw"]
approvals = 1
approvers = ["build"]
`;
const GATEWAY = `[limits]
wait-seconds = 1
connects-per-second = 1000
connects-burst = 1000
`;

async function withRig(work: (rig: SigningRig) => Promise<void>, options: Partial<RigOptions> = {}) {
  const rig = await SigningRig.start({
    config: CONFIG,
    gateway: GATEWAY,
    gateways: 2,
    signers: 2,
    ...options,
  });
  try {
    await work(rig);
  } finally {
    await rig.close();
  }
}

/** A client whose session is with this signer. */
async function clientAt(rig: SigningRig, signer: RigSigner, patience?: number): Promise<SigningClient> {
  const client = rig.client(patience === undefined ? {} : { patience });
  await client.certificates(signer.name);
  return client;
}
const entriesOf = async (rig: SigningRig, signer: RigSigner, kind: string, id: string) =>
  (await rig.entries(signer)).filter((e) => e.kind === kind && "request" in e && e.request === id);
const failing = (code: "signing/key-failed" | "signing/key-unavailable") => async () => {
  throw new SigningError(code, "The key is broken.");
};
const pair = (rig: SigningRig) => [rig.signers[0]!, rig.signers[1]!] as const;
const approvedWish = (text: string) => ({
  certificate: "approved",
  operation: {
    kind: "raw",
    scheme: "ecdsa-sha2-nistp256",
    message: toBase64(toUtf8(text)),
    purpose: "test",
  } as const,
  file: { name: "x.bin", length: text.length, sha256: sha256Hex(toUtf8(text)) },
});

/** In a list of its own, as only newer signers know it. */
function inList(wish: ReturnType<typeof wishFor>) {
  const { certificate, file, operation } = wish;
  const nonce = newId();
  const digest = digestWord(operation);
  const root = listRoot([{ certificate, operation: operation.kind, name: file.name, digest }], nonce);
  return { ...wish, release: { root, size: 1, index: 0, proof: [], nonce } };
}

describe("with two signers", { concurrency: 4 }, () => {
  it("a build goes to the living one when the other is down for good", () =>
    withRig(async (rig) => {
      const [dead, living] = pair(rig);
      await dead.stop();
      const client = rig.client();
      const offered = await client.certificate("release");
      const signed = await Promise.all(
        Array.from({ length: 30 }, (_, i) => client.sign(wishFor(toUtf8(`${i}`)), offered)),
      );
      assert.ok(signed.every(({ signer, state }) => state === "signed" && signer === living.name));
    }));

  it("one of which is older, what it cannot do goes to the newer one, and nothing of it is sent to the old one", () =>
    withRig(async (rig) => {
      const [old, newer] = pair(rig);
      old.old = true;
      const client = await clientAt(rig, old);
      const offered = await client.certificate("release", old.name);
      for (let i = 0; i < 4; i++) {
        const signed = await client.sign(inList(wishFor(toUtf8(`${i}`))), offered);
        assert.equal(signed.signer, newer.name);
      }
      assert.equal(old.misunderstood, 0);
      // What it can do it does, and another client that starts there finds its way as well.
      const plain = await (await clientAt(rig, old)).sign(wishFor(toUtf8("plain")), offered);
      assert.equal(plain.signer, old.name);
      const other = await clientAt(rig, old, 20_000);
      const signed = await other.sign(inList(wishFor(toUtf8("again"))), offered);
      assert.equal(signed.signer, newer.name);
    }));

  it("both of which are older, says what is missing and where, at once and with nothing sent", () =>
    withRig(async (rig) => {
      for (const signer of rig.signers) signer.old = true;
      const client = rig.client();
      const offered = await client.certificate("release");
      const began = performance.now();
      await assert.rejects(client.sign(inList(wishFor(toUtf8("x"))), offered), (error: SigningError) => {
        assert.equal(error.code, "signing/old-signer");
        assert.match(
          error.message,
          /^The signer signer-[12] is older than this client: it speaks version 1 .*lists of one call/,
        );
        assert.match(error.hint!, /Update that signer/);
        return true;
      });
      assert.ok(performance.now() - began < 10_000);
      assert.deepEqual(
        rig.signers.map(({ misunderstood }) => misunderstood),
        [0, 0],
      );
      // A chosen id belongs to one signer, which is not left for another.
      rig.signers[0]!.old = false;
      const ids = Array.from({ length: 64 }, newId);
      const id = ids.find((each) => homeOf(each, ["signer-1", "signer-2"]) === "signer-2")!;
      await assert.rejects(rig.client().sign({ ...inList(wishFor(toUtf8("x"))), id }, offered), {
        code: "signing/old-signer",
      });
    }));

  it("a build that was planned with one goes on at the other, and each reply is checked against that one's own chain", () =>
    withRig(async (rig) => {
      const [first, second] = pair(rig);
      const client = await clientAt(rig, first);
      const offered = await client.certificate("release", first.name);
      const a = (await client.sign(wishFor(toUtf8("a")), offered)) as SignedFile;
      await first.stop();
      const b = (await client.sign(wishFor(toUtf8("b")), offered)) as SignedFile;
      assert.deepEqual([a.signer, b.signer], [first.name, second.name]);
      assert.notDeepEqual(a.leaf!.der, b.leaf!.der);
      assert.deepEqual(b.leaf!.der, second.settings().certificates.get("release")!.chain[0]!.der);
    }));

  for (const code of ["signing/key-failed", "signing/key-unavailable"] as const) {
    it(`a request that one answered with ${code} is signed by the other under the same id, and by nobody else`, () =>
      withRig(async (rig) => {
        const [broken, whole] = pair(rig);
        broken.keys.before = failing(code);
        const client = await clientAt(rig, broken);
        const signed = await client.sign(
          wishFor(toUtf8("x")),
          await client.certificate("release", broken.name),
        );
        assert.equal(signed.signer, whole.name);
        assert.equal((await entriesOf(rig, broken, "failed", signed.request)).length, 1);
        assert.equal((await entriesOf(rig, broken, "result", signed.request)).length, 0);
        assert.equal((await entriesOf(rig, whole, "result", signed.request)).length, 1);
      }));
  }

  it("a key whose process is being replaced is offered all the same, and its request waits or goes to the other", () =>
    withRig(async (rig) => {
      const [replacing, whole] = pair(rig);
      replacing.keys.away.add("release");
      const client = await clientAt(rig, replacing, 20_000);
      const offered = await client.certificate("release", replacing.name);
      const moved = await client.sign(wishFor(toUtf8("x")), offered);
      assert.equal(moved.signer, whole.name);
      assert.equal((await entriesOf(rig, replacing, "intent", moved.request)).length, 0);
      await whole.stop();
      const alone = rig.client({ patience: 20_000, signer: replacing.name });
      const waiting = alone.sign(wishFor(toUtf8("y")), await alone.certificate("release"));
      await systemClock.sleep(300);
      replacing.keys.away.clear();
      assert.equal((await waiting).signer, replacing.name);
    }));

  it("a stuck key moves the request, and the signature that it gives too late is released by nobody", () =>
    withRig(async (rig) => {
      const [stuck, whole] = pair(rig);
      let release = (): void => {};
      const held = new Promise<void>((resolve) => (release = resolve));
      stuck.keys.before = () => held;
      const client = await clientAt(rig, stuck);
      const signed = await client.sign(wishFor(toUtf8("x")), await client.certificate("release", stuck.name));
      assert.equal(signed.signer, whole.name);
      release();
      await until("the late signature", () => stuck.keys.made === 1);
      assert.equal((await entriesOf(rig, stuck, "result", signed.request)).length, 0);
    }));

  it("a full queue moves requests to the other", () =>
    withRig(async (rig) => {
      const [full, free] = pair(rig);
      let release = (): void => {};
      const held = new Promise<void>((resolve) => (release = resolve));
      full.keys.before = () => held;
      const text = CONFIG.replaceAll("@ci", rig.clientIdentity.spki);
      const small = full.settings(`queue = 2\n${text}`);
      await full.service.reconfigure(small, "test");
      const client = await clientAt(rig, full);
      const offered = await client.certificate("release", full.name);
      const all = Promise.all(
        Array.from({ length: 12 }, (_, i) => client.sign(wishFor(toUtf8(`${i}`)), offered)),
      );
      await until("some moved", () => free.keys.made >= 9);
      release();
      full.keys.before = async () => {};
      const signed = await all;
      const ids = [full, free].map(async (signer) =>
        (await rig.entries(signer)).flatMap((e) => (e.kind === "result" ? [e.request] : [])),
      );
      const results = (await Promise.all(ids)).flat();
      assert.deepEqual(results.toSorted(), signed.map(({ request }) => request).toSorted());
    }));

  it("a failure that the signer does not vouch for stays there until patience ends, and says so", () =>
    withRig(async (rig) => {
      const [broken, other] = pair(rig);
      // The key has signed, and the write of the result was begun.
      broken.log.seal = async () => {
        throw new SigningError("signing/key-failed", "nobody knows what happened");
      };
      const client = await clientAt(rig, broken, 600);
      const offered = await client.certificate("release", broken.name);
      await assert.rejects(client.sign(wishFor(toUtf8("x")), offered), (error: SigningError) => {
        assert.equal(error.code, "signing/outcome-unknown");
        assert.match(error.message, /signer-1 signed the request [0-9a-f]{32}/);
        return true;
      });
      assert.equal(other.keys.made, 0);
    }));

  it("a failure that nobody foresaw is the end at once: neither that signer nor another one is asked again", () =>
    withRig(async (rig) => {
      const [broken, other] = pair(rig);
      let used = 0;
      broken.keys.before = async () => {
        used++;
        throw new Error("nobody knows what happened");
      };
      const client = await clientAt(rig, broken);
      const offered = await client.certificate("release", broken.name);
      await assert.rejects(client.sign(wishFor(toUtf8("x")), offered), {
        code: "signing/internal",
        message: /the request [0-9a-f]{32}/,
      });
      assert.deepEqual([used, other.keys.made], [1, 0]);
    }));

  it("a request that was sent to a signer which then vanished is given to nobody else; the failure names request and signer", () =>
    withRig(async (rig) => {
      const [gone, other] = pair(rig);
      let asked = false;
      gone.keys.before = () => {
        asked = true;
        return new Promise(() => {});
      };
      const client = await clientAt(rig, gone, 2500);
      const offered = await client.certificate("release", gone.name);
      const under = client.sign(wishFor(toUtf8("x")), offered);
      const fate = assert.rejects(under, (error: SigningError) => {
        assert.equal(error.code, "signing/outcome-unknown");
        assert.equal(error.facts["signer"], gone.name);
        assert.ok(error.message.includes(String(error.facts["request"])));
        return true;
      });
      await until("the key is asked", () => asked);
      await gone.stop();
      // What was not yet given to it is signed meanwhile.
      assert.equal((await client.sign(wishFor(toUtf8("y")), offered)).signer, other.name);
      await fate;
      assert.equal(other.keys.made, 1);
    }));

  it("gateways that come back with another key do not hide that a request is without outcome", () =>
    withRig(async (rig) => {
      const [signer] = pair(rig);
      let asked = false;
      signer.keys.before = () => {
        asked = true;
        return new Promise(() => {});
      };
      const client = await clientAt(rig, signer);
      const under = client.sign(wishFor(toUtf8("x")), await client.certificate("release", signer.name));
      const fate = assert.rejects(under, { code: "signing/outcome-unknown" });
      await until("the key is asked", () => asked);
      const other = rig.clientIdentity;
      for (const gateway of rig.gateways) await gateway.relay.close();
      for (const gateway of rig.gateways) await gateway.start(other);
      await fate;
    }));

  it("a signer that comes back signs what was sent to it, once, though the other was there all the time", () =>
    withRig(async (rig) => {
      const [back, other] = pair(rig);
      let asked = false;
      back.keys.before = () => {
        asked = true;
        return new Promise(() => {});
      };
      const client = await clientAt(rig, back);
      const under = client.sign(wishFor(toUtf8("x")), await client.certificate("release", back.name));
      await until("the key is asked", () => asked);
      await back.stop();
      back.keys.before = async () => {};
      await back.start();
      const signed = await under;
      assert.equal(signed.signer, back.name);
      assert.equal((await entriesOf(rig, back, "result", signed.request)).length, 1);
      assert.equal((await entriesOf(rig, back, "abandoned", signed.request)).length, 1);
      assert.equal(other.keys.made, 0);
    }));

  it("another key under the same name is not the same certificate", () =>
    withRig(async (rig) => {
      const [first, second] = pair(rig);
      second.keys.add(
        "release",
        generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey,
        "ecdsa-sha2-nistp256",
      );
      const client = await clientAt(rig, first, 1500);
      const offered = await client.certificate("release", first.name);
      await first.stop();
      await assert.rejects(client.sign(wishFor(toUtf8("x")), offered), { code: "signing/unreachable" });
      assert.equal(second.keys.made, 0);
    }));

  it("a user whom one signer refuses is served by the other", () =>
    withRig(async (rig) => {
      const [strict, open] = pair(rig);
      const text = CONFIG.replaceAll("@ci", rig.clientIdentity.spki);
      await strict.service.reconfigure(
        strict.settings(text.replace('kind = "machine"', 'kind = "machine"\ndisabled = true')),
        "test",
      );
      for (let i = 0; i < 4; i++) {
        const client = rig.client();
        const signed = await client.sign(wishFor(toUtf8(`${i}`)), await client.certificate("release"));
        assert.equal(signed.signer, open.name);
      }
    }));

  it("a chosen request id is signed once over any number of runs, because it belongs to one signer", () =>
    withRig(async (rig) => {
      const [first, second] = pair(rig);
      const id = newId();
      const replies = new Set<string>();
      for (let run = 0; run < 4; run++) {
        // Each run is later than the last by more than the second that a request's time is told in.
        if (run === 1) await systemClock.sleep(1100);
        const client = await clientAt(rig, run % 2 === 0 ? first : second);
        const offered = await client.certificate("release");
        const signed = (await client.sign(wishFor(toUtf8("x"), "x.bin", id), offered)) as SignedFile;
        assert.equal(signed.signer, homeOf(id, [first.name, second.name]));
        replies.add(toHex(signed.reply));
      }
      assert.equal(replies.size, 1);
      assert.equal(first.keys.made + second.keys.made, 1);
      const home = homeOf(id, [first.name, second.name]) === first.name ? first : second;
      await home.stop();
      const late = rig.client({ patience: 800 });
      const offered = await late.certificate("release");
      await assert.rejects(late.sign(wishFor(toUtf8("x"), "x.bin", id), offered), {
        code: "signing/unreachable",
      });
      assert.equal(first.keys.made + second.keys.made, 1);
    }));

  it("what waits for approval is found at every signer, and one that is silent is named", () =>
    withRig(async (rig) => {
      const [first, second] = pair(rig);
      const asked = [];
      for (const signer of [first, second]) {
        const client = await clientAt(rig, signer);
        asked.push(
          await client.sign(approvedWish(signer.name), await client.certificate("approved", signer.name)),
        );
      }
      const approver = rig.client();
      const shown = await approver.pendingEverywhere();
      assert.deepEqual(
        shown.answers.map(({ signer, answer }) => [signer, answer.map(({ request }) => request)]),
        asked.map(({ signer, request }) => [signer, [request]]),
      );
      assert.deepEqual(shown.silent, []);
      await second.stop();
      const fewer = await rig.client({ patience: 500 }).pendingEverywhere();
      assert.deepEqual(
        fewer.answers.map(({ signer }) => signer),
        [first.name],
      );
      assert.deepEqual(
        fewer.silent.map(({ signer, error }) => [signer, error.code]),
        [[second.name, "signing/unreachable"]],
      );
    }));

  it("an approval is given where the request waits, and counts there alone", () =>
    withRig(async (rig) => {
      const [first, second] = pair(rig);
      const subject = { kind: "request", sha256: "0".repeat(64) } as const;
      const client = rig.client();
      await client.approve(subject, "approve", 3_600_000, second.name);
      const given = async (signer: RigSigner) =>
        (await rig.entries(signer)).filter(({ kind }) => kind === "approval").length;
      assert.deepEqual([await given(first), await given(second)], [0, 1]);
    }));

  it("two signers, both gateways restarted in turn, one signer restarted: 100 files are signed, each once", () =>
    withRig(async (rig) => {
      const client = rig.client();
      const other = rig.client();
      const offered = await client.certificate("release");
      const files = Array.from({ length: 100 }, (_, i) =>
        (i % 2 === 0 ? client : other).sign(wishFor(toUtf8(`file ${i}`), `f${i}.bin`), offered),
      );
      await Promise.race(files);
      for (const gateway of rig.gateways) {
        await gateway.relay.close();
        await gateway.start();
      }
      await rig.signers[0]!.stop();
      await rig.signers[0]!.start();
      const signed = await Promise.all(files);
      const all = await Promise.all(rig.signers.map((signer) => rig.entries(signer)));
      const results = all.flat().flatMap((e) => (e.kind === "result" ? [e.request] : []));
      assert.equal(results.length, 100);
      assert.deepEqual(results.toSorted(), signed.map(({ request }) => request).toSorted());
    }));
});
