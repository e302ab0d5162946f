// What a client hears when a signer fails in a way that nobody foresaw: one answer at once, and no claim about what was signed.

import assert from "node:assert/strict";
import { generateKeyPairSync, createHash } from "node:crypto";
import { after, before, beforeEach, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { CONFIG, identity, rawWish, signInAs, startRig } from "../../testing/signing-people.ts";
import { newId, SigningRig, wishFor } from "../../testing/signing-rig.ts";

type Line = { readonly event: string; readonly [name: string]: unknown };
let rig: SigningRig;
const lines: Line[] = [];
/** When the builder fails: before it used the key, or after. */
let fails: "before" | "after" | "never" = "never";
before(async () => {
  rig = await startRig({
    say: (_level, event, facts) => void lines.push({ event, ...facts }),
    build: (honest) => async (order) => {
      if (fails === "before") throw new TypeError("null is not a digest");
      const built = await honest(order);
      if (fails === "after") throw new TypeError("null is not a stamp");
      return built;
    },
  });
});
after(() => rig.close());
beforeEach(() => {
  fails = "never";
  lines.length = 0;
});

/** How long it took, in milliseconds. */
async function refusedAtOnce(work: () => Promise<unknown>, expected: object): Promise<void> {
  const began = performance.now();
  await assert.rejects(work, expected);
  assert.ok(performance.now() - began < 20_000, "the client had ninety seconds of patience and used them");
}

describe("an exception that nobody foresaw", () => {
  for (const when of ["before", "after"] as const)
    it(`${when} the key was used is one answer, which claims nothing, and a line that names the request`, async () => {
      const client = rig.client();
      const offered = await client.certificate("release");
      fails = when;
      const id = newId();
      const made = rig.keys.made;
      await refusedAtOnce(() => client.sign(wishFor(toUtf8(when), "a.bin", id), offered), {
        code: "signing/internal",
        unsigned: false,
      });
      assert.equal(rig.keys.made - made, when === "after" ? 1 : 0);
      const line = lines.find(({ event }) => event === "failed");
      assert.deepEqual([line?.["request"], line?.["call"]], [id, "sign"]);
    });

  it("leaves a request that may be sent again, and says so at once to who asks for its state", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    fails = "after";
    const wish = wishFor(toUtf8("again"), "again.bin", newId());
    await assert.rejects(client.sign(wish, offered), { code: "signing/internal" });
    await refusedAtOnce(() => client.status(wish.id!, "signer-1", wish, offered), {
      code: "signing/not-found",
      message: /signing\/internal.*send it again/,
    });
    fails = "never";
    assert.equal((await client.sign(wish, offered)).state, "signed");
  });

  it("in another call than sign is one answer as well", async () => {
    const client = rig.client();
    await client.certificate("release");
    const { pending } = rig.signers[0]!.ledger;
    rig.signers[0]!.ledger.pending = () => {
      throw new RangeError("no such place");
    };
    try {
      await refusedAtOnce(() => client.pending(), { code: "signing/internal" });
    } finally {
      rig.signers[0]!.ledger.pending = pending;
    }
  });

  it("such as an answer too long for a message ends neither the signer nor the session", async () => {
    const alice = rig.client({ identity: await identity(), signIn: signInAs("alice") });
    await alice.pending();
    const { ledger } = rig.signers[0]!;
    const { pending } = ledger;
    const build = rig.client();
    const waits = await build.sign(rawWish("one of many"), await build.certificate("approved"));
    assert.equal(waits.state, "pending");
    const [entry] = ledger.pending(Date.now());
    ledger.pending = () => Array.from({ length: 5000 }, () => entry!);
    try {
      await refusedAtOnce(() => alice.pending(), { code: "signing/internal" });
    } finally {
      ledger.pending = pending;
    }
    assert.equal((await alice.pending()).length, 1);
  });
});

describe("a detached signature", () => {
  const digestOf = (algorithm: string): string => createHash(algorithm).update("x").digest("hex");
  const wish = (algorithm: "sha256" | "sha384" | "sha512", certificate = "release") => ({
    ...wishFor(toUtf8("x")),
    certificate,
    operation: { kind: "cms", algorithm, digest: digestOf(algorithm), timestamp: false } as const,
  });

  it("of an RSA key is made over every digest that the key is set up for", async () => {
    const release = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
    const rsa = await SigningRig.start({
      release,
      config: CONFIG.replace(
        'scheme = "ecdsa-sha2-nistp256"',
        'scheme = "rsa-pkcs1v15-sha256"\nalso-schemes = ["rsa-pkcs1v15-sha384", "rsa-pkcs1v15-sha512"]',
      ),
    });
    try {
      const client = rsa.client();
      const offered = await client.certificate("release");
      for (const algorithm of ["sha256", "sha384", "sha512"] as const)
        assert.equal((await client.sign(wish(algorithm), offered)).state, "signed", algorithm);
    } finally {
      await rsa.close();
    }
  });

  it("over a digest that does not go with the key is a bad request at once, and the key is not used", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const intents = async (): Promise<number> =>
      (await rig.entries()).filter(({ kind }) => kind === "intent").length;
    const [made, before] = [rig.keys.made, await intents()];
    for (const algorithm of ["sha384", "sha512"] as const) {
      await refusedAtOnce(() => client.sign(wish(algorithm), offered), { code: "signing/bad-request" });
      await refusedAtOnce(() => client.preview(wish(algorithm), offered), { code: "signing/bad-request" });
    }
    assert.equal(rig.keys.made, made);
    assert.equal(await intents(), before);
  });
});
