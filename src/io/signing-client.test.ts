// The signing service from client to receipt, through a real relay, with honest and hostile parties.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { after, before, describe, it } from "node:test";
import { generateKeyPair, exportJWK, SignJWT } from "jose";
import { fromBase64, toBase64, toHex, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { purposeKey, sealWith } from "../signing/custody.ts";
import { encodeFrame, HEADER, MAX_PAYLOAD } from "../signing/frame.ts";
import { hashPassword } from "../signing/password.ts";
import { verifyLog } from "../signing/audit/verify.ts";
import type { AuditEntry } from "../signing/audit/entry.ts";
import { stepOf, totpAt } from "../signing/totp.ts";
import { listLeaf, listRoot, signRequest, type ListedFile } from "../signing/request.ts";
import { inclusionProof } from "../signing/audit/proof.ts";
import { merkleRoot } from "../core/digest.ts";
import { newId, SigningRig, UNLOCKED, wishFor } from "../testing/signing-rig.ts";
import { systemClock } from "./clock.ts";
import { systemDisk } from "./disk.ts";
import { nextFrame, onFrames } from "./frame-stream.ts";
import { connectPinned, identityOf, serverOptions, type Identity } from "./pinned-tls.ts";
import { systemRandom } from "./random.ts";

const TOTP = new Uint8Array(20).fill(9);
const password = await hashPassword("correct horse battery", systemRandom);
const sealedTotp = (user: string): string => {
  const sealed = sealWith(purposeKey(UNLOCKED, "config v1"), TOTP, `totp ${user}`, systemRandom);
  return `${sealed.nonce}.${sealed.ciphertext}`;
};
const person = (name: string, roles = '["approver"]'): string =>
  `[users.${name}]\nkind = "person"\nroles = ${roles}\npassword = "${password}"\ntotp = "${sealedTotp(name)}"\n`;
const CONFIG = `
[oidc.ci]
issuer = "https://ci.example"
audience = "upkeep"
binding = "none"
[oidc.bound]
issuer = "https://bound.example"
audience = "upkeep"
binding = "key"
[users.build]
kind = "machine"
keys = ["@ci"]
[users.pipeline]
kind = "ci"
issuer = "ci"
claims = { repository = "acme/app" }
[users.strict]
kind = "ci"
issuer = "bound"
claims = { repository = "acme/app" }
${person("alice", '["approver", "requester"]')}
${person("bob")}
${person("carol")}
${person("dave")}
${person("erin")}
[keys.release]
custody = "file"
scheme = "ecdsa-sha2-nistp256"
[keys.other]
custody = "file"
scheme = "ed25519"
[certificates.release]
key = "release"
[certificates.release.policy.default]
users = ["build", "pipeline", "strict"]
operations = ["cms", "elf"]
names = ["*.bin"]
[certificates.approved]
key = "release"
[certificates.approved.policy.default]
users = ["build", "alice"]
operations = ["raw"]
approvals = 2
approvers = ["alice", "bob", "carol", "dave", "erin"]
[certificates.limited]
key = "release"
[certificates.limited.policy.default]
users = ["build"]
operations = ["raw"]
per-hour = 3
[certificates.slow]
key = "other"
[certificates.slow.policy.default]
users = ["build"]
operations = ["raw"]
`;

const identity = (): Promise<Identity> =>
  identityOf(generateKeyPairSync("ed25519").privateKey, systemClock, systemRandom);
let rig: SigningRig;
const issuerKeys = await generateKeyPair("ES256");
const jwk = { ...(await exportJWK(issuerKeys.publicKey)), kid: "k1", alg: "ES256" };
const token = (issuer: string, claims: object, audience = "upkeep"): Promise<string> =>
  new SignJWT({ repository: "acme/app", jti: newId(), ...claims })
    .setProtectedHeader({ alg: "ES256", kid: "k1" })
    .setIssuer(issuer)
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime("5m")
    .sign(issuerKeys.privateKey);
const entries = async (): Promise<AuditEntry[]> => {
  const all: AuditEntry[] = [];
  await verifyLog(systemDisk, `${rig.folder}/audit`, rig.logKey, [], (entry) => all.push(entry));
  return all;
};
const lastOf = async (kind: AuditEntry["kind"]): Promise<AuditEntry> =>
  (await entries()).findLast((e) => e.kind === kind)!;
const uses = new Map<string, Set<number>>();
/** Codes are good once: each person takes the next step's, then this one's, then the last one's. Read when they sign in: the run may take longer than a code lives. */
const signInAs = (user: string, secret = "correct horse battery") => {
  return async () => {
    const used = uses.get(user) ?? new Set<number>();
    uses.set(user, used);
    const at = stepOf(systemClock.now());
    const step = [at + 1, at, at - 1].find((candidate) => !used.has(candidate)) ?? at;
    used.add(step);
    return { method: "password", user, password: secret, code: totpAt(TOTP, step) } as const;
  };
};
const rawWish = (text: string) => ({
  certificate: "approved",
  operation: {
    kind: "raw",
    scheme: "ecdsa-sha2-nistp256",
    message: toBase64(toUtf8(text)),
    purpose: "test",
  } as const,
  file: { name: "x.bin", length: text.length, sha256: sha256Hex(toUtf8(text)) },
});

before(async () => {
  rig = await SigningRig.start({
    config: CONFIG,
    gateway:
      "[limits]\nsession-bytes = 262144\nidle-seconds = 30\nwait-seconds = 1\nconnects-per-second = 1000\nconnects-burst = 1000\n",
    fetchJson: async (url) =>
      url.includes("openid-configuration")
        ? { issuer: url.split("/.well")[0], jwks_uri: `${url.split("/.well")[0]}/keys` }
        : { keys: [jwk] },
  });
});
after(() => rig.close());

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
    const from = performance.now();
    const fast = await Promise.all(
      Array.from({ length: 250 }, (_, i) => other.sign(wishFor(toUtf8(`fast ${i}`)), offered)),
    );
    assert.ok(fast.every((outcome) => outcome.state === "signed"));
    // The stuck key gives up after two seconds at the earliest; the others did not wait for it.
    assert.ok(rig.keys.replaced.length === 0 || performance.now() - from < 10_000);
    release();
    rig.keys.before = async () => {};
    await client.close();
    await Promise.all(slow);
  });
});

describe("approvals", () => {
  it("need distinct people other than the requester, and are good for one request", async () => {
    const build = rig.client();
    const offered = await build.certificate("approved");
    const wish = rawWish("approve me");
    const pending = await build.sign(wish, offered);
    assert.ok(pending.state === "pending" && pending.needed === 2 && pending.have === 0);
    const alice = rig.client({ identity: await identity(), signIn: signInAs("alice") });
    const shown = (await alice.pending()).find((r) => r.request === pending.request)!;
    assert.equal(shown.user, "build");
    const subject = { kind: "request", sha256: shown.requestHash } as const;
    await alice.approve(subject, "approve", 3_600_000);
    await alice.approve(subject, "approve", 3_600_000);
    assert.equal((await build.status(pending.request, "signer-1", wish, offered)).state, "pending");
    const bob = rig.client({ identity: await identity(), signIn: signInAs("bob") });
    await bob.approve(subject, "approve", 3_600_000);
    assert.equal((await build.status(pending.request, "signer-1", wish, offered)).state, "signed");
    assert.equal((await build.sign(wish, offered)).state, "pending");
  });

  it("of the requester himself do not count", async () => {
    const alice = rig.client({ identity: await identity(), signIn: signInAs("alice") });
    const offered = await alice.certificate("approved");
    const wish = rawWish("mine");
    const pending = await alice.sign(wish, offered);
    assert.equal(pending.state, "pending");
    const shown = (await alice.pending()).find((r) => r.request === pending.request)!;
    const subject = { kind: "request", sha256: shown.requestHash } as const;
    await alice.approve(subject, "approve", 3_600_000);
    const carol = rig.client({ identity: await identity(), signIn: signInAs("carol") });
    await carol.approve(subject, "approve", 3_600_000);
    assert.equal((await alice.status(pending.request, "signer-1", wish, offered)).state, "pending");
    await carol.approve(subject, "reject", 3_600_000);
    await assert.rejects(alice.status(pending.request, "signer-1", wish, offered), {
      code: "signing/denied",
    });
  });

  it("of a release's root cover each of its files once", async () => {
    const build = rig.client();
    const offered = await build.certificate("approved");
    const wishes = ["a", "b", "c"].map(rawWish);
    const listed = wishes.map((wish): ListedFile => ({
      certificate: "approved",
      operation: "raw",
      name: wish.file.name,
      digest: `sha256:${sha256Hex(fromBase64(wish.operation.message))}`,
    }));
    const leaves = listed.map(listLeaf);
    const subtree = (level: number, index: number) =>
      merkleRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level));
    const member = (index: number) => ({
      root: listRoot(listed),
      size: 3,
      index,
      proof: inclusionProof(subtree, index, 3).map(toHex),
    });
    const pending = await Promise.all(
      wishes.map((wish, i) => build.sign({ ...wish, release: member(i) }, offered)),
    );
    assert.ok(pending.every((each) => each.state === "pending"));
    const subject = { kind: "release", root: listRoot(listed), size: 3 } as const;
    for (const user of ["dave", "erin"]) {
      await rig
        .client({ identity: await identity(), signIn: signInAs(user) })
        .approve(subject, "approve", 3_600_000);
    }
    for (const [i, each] of pending.entries()) {
      assert.equal((await build.status(each.request, "signer-1", wishes[i]!, offered)).state, "signed");
    }
    await assert.rejects(build.sign({ ...wishes[0]!, release: member(0) }, offered), {
      code: "signing/denied",
    });
    await assert.rejects(build.sign({ ...rawWish("d"), release: member(0) }, offered), {
      code: "signing/bad-request",
    });
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

describe("sign-in", () => {
  it("of a pipeline takes a token of its issuer", async () => {
    const good = await token("https://ci.example", {});
    const client = rig.client({
      identity: await identity(),
      signIn: async () => ({ method: "oidc", token: good }),
    });
    assert.deepEqual(
      (await client.certificates()).map((c) => c.name),
      ["release"],
    );
  });

  it("refuses a stolen CI token: one that was used with another key, or names another key", async () => {
    const stolen = await token("https://ci.example", {});
    const owner = await identity();
    const thief = await identity();
    const as = (who: Identity, word: string) =>
      rig.client({ identity: who, signIn: async () => ({ method: "oidc", token: word }) }).certificates();
    await as(owner, stolen);
    await as(owner, stolen);
    await assert.rejects(as(thief, stolen), { code: "signing/refused" });
    const entry = await lastOf("session");
    assert.match(entry.kind === "session" ? entry.reason : "", /stolen/);
    const bound = await token("https://bound.example", {}, `upkeep#${owner.spki}`);
    await as(owner, bound);
    await assert.rejects(as(thief, bound), { code: "signing/refused" });
  });

  it("refuses tokens of wrong claims, audience, signature and age, all in the same words", async () => {
    const other = await generateKeyPair("ES256");
    const forged = await new SignJWT({ repository: "acme/app" })
      .setProtectedHeader({ alg: "ES256", kid: "k1" })
      .setIssuer("https://ci.example")
      .setAudience("upkeep")
      .setIssuedAt()
      .setExpirationTime("5m")
      .sign(other.privateKey);
    const old = await new SignJWT({ repository: "acme/app" })
      .setProtectedHeader({ alg: "ES256", kid: "k1" })
      .setIssuer("https://ci.example")
      .setAudience("upkeep")
      .setIssuedAt(Math.floor(systemClock.now() / 1000) - 7200)
      .setExpirationTime("1d")
      .sign(issuerKeys.privateKey);
    const bad = [
      await token("https://ci.example", { repository: "evil/app" }),
      await token("https://ci.example", {}, "someone-else"),
      await token("https://unknown.example", {}),
      forged,
      old,
      "not a token",
    ];
    for (const word of bad) {
      await assert.rejects(
        rig
          .client({
            identity: await identity(),
            signIn: async () => ({ method: "oidc", token: word }),
          })
          .certificates(),
        { code: "signing/refused", message: "Sign-in was refused." },
      );
    }
  });

  it("refuses wrong passwords, codes and people alike, and a code that was used with another key", async () => {
    const tries = [
      signInAs("alice", "wrong password here"),
      signInAs("nobody"),
      async () => ({ ...(await signInAs("bob")()), code: "000000" }),
    ];
    for (const signIn of tries) {
      await assert.rejects(rig.client({ identity: await identity(), signIn }).certificates(), {
        code: "signing/refused",
        message: "Sign-in was refused.",
      });
    }
    const code = await signInAs("carol")();
    const first = rig.client({ identity: await identity(), signIn: async () => code });
    const second = rig.client({ identity: await identity(), signIn: async () => code });
    await first.certificates();
    await assert.rejects(second.certificates(), { code: "signing/refused" });
  });

  it("refuses a key that nobody registered", async () => {
    await assert.rejects(rig.client({ identity: await identity() }).certificates(), {
      code: "signing/refused",
    });
  });
});

/** A gateway with the right key in the wrong hands: `relay` sees and may change every byte. */
async function hostileGateway(
  relay: (client: TLSSocket, signer: TLSSocket | null) => void,
): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<TLSSocket>();
  const server = createTlsServer(serverOptions(rig.gatewayIdentity), async (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    await nextFrame(socket, "hello", 5000).catch(() => null);
    relay(socket, null);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

const opening = (session: bigint, facts: object) =>
  encodeFrame({ type: "open", session, payload: toUtf8(JSON.stringify(facts)) });

/** Connects the client to the honest relay, with every data frame in either direction going through `change`. */
async function manInTheMiddle(
  change: (direction: "up" | "down", payload: Uint8Array, n: number) => readonly Uint8Array[],
): Promise<{ port: number; close: () => void }> {
  return hostileGateway(async (client) => {
    const upstream = await connectPinned(
      { host: "127.0.0.1", port: rig.ports.clients, pin: rig.gatewayIdentity.spki },
      rig.clientIdentity,
    );
    upstream.on("error", () => {});
    upstream.write(
      encodeFrame({
        type: "hello",
        session: 0n,
        payload: toUtf8(JSON.stringify({ role: "client", signer: "*" })),
      }),
    );
    const { session, payload } = await nextFrame(upstream, "open", 5000);
    client.write(encodeFrame({ type: "open", session, payload }));
    const copy = (from: TLSSocket, to: TLSSocket, direction: "up" | "down"): void => {
      let n = 0;
      onFrames(from, (frame) => {
        if (frame.type !== "data") return void to.destroy();
        for (const part of change(direction, frame.payload, n++))
          to.write(encodeFrame({ type: "data", session, payload: part }));
      });
      from.once("close", () => to.destroy());
      from.resume();
    };
    copy(client, upstream, "up");
    copy(upstream, client, "down");
  });
}

const through = (port: number) =>
  rig.description({ gateways: [{ address: `127.0.0.1:${port}`, spki: rig.gatewayIdentity.spki }] });

describe("a hostile gateway", () => {
  it("that drops frames only stops the work", async () => {
    const evil = await manInTheMiddle((direction, payload, n) =>
      direction === "up" && n === 4 ? [] : [payload],
    );
    try {
      const client = rig.client({ service: through(evil.port), patience: 0 });
      await assert.rejects(
        Promise.race([
          client.certificates(),
          systemClock.sleep(700).then(() => Promise.reject(new Error("nothing came"))),
        ]),
      );
    } finally {
      evil.close();
    }
  });

  for (const [attack, change] of [
    ["changes a byte", (p: Uint8Array) => [p.with(p.length - 1, p[p.length - 1]! ^ 1)]],
    ["replays a frame", (p: Uint8Array) => [p, p]],
    ["reorders bytes", (p: Uint8Array) => [p.toReversed()]],
  ] as const) {
    it(`that ${attack} breaks the session and gets nothing signed`, async () => {
      const made = rig.keys.made;
      const evil = await manInTheMiddle((direction, payload, n) =>
        direction === "up" && n >= 3 ? change(payload) : [payload],
      );
      try {
        const client = rig.client({ service: through(evil.port), patience: 0 });
        await assert.rejects(
          client.certificates().then((offered) => client.sign(wishFor(toUtf8("evil")), offered[0]!)),
        );
        assert.equal(rig.keys.made, made);
      } finally {
        evil.close();
      }
    });
  }

  it("that lies about the signer's identity is refused before anything is said", async () => {
    const impostor = await identity();
    const evil = await hostileGateway(async (client) => {
      client.write(opening(1n, { signer: "signer-1", bytes: 1_000_000 }));
      const { FrameDuplex } = await import("./frame-stream.ts");
      const { accept } = await import("./pinned-tls.ts");
      await accept(new FrameDuplex(client, 1n), impostor).catch(() => {});
    });
    try {
      await assert.rejects(rig.client({ service: through(evil.port), patience: 0 }).certificates(), {
        code: "signing/wrong-peer",
      });
    } finally {
      evil.close();
    }
  });

  it("that splices a request of one session into another gets nothing signed", async () => {
    const made = rig.keys.made;
    const [first] = [...rig.sessions];
    assert.ok(first !== undefined);
    const session = [...rig.sessions].at(-1)!;
    const now = new Date(Math.floor(systemClock.now() / 1000) * 1000).toISOString().replace(".000Z", "Z");
    const later = new Date(Math.floor(systemClock.now() / 1000) * 1000 + 60_000)
      .toISOString()
      .replace(".000Z", "Z");
    const envelope = await signRequest(
      {
        version: 1,
        id: newId(),
        requester: "build",
        certificate: "release",
        operation: wishFor(toUtf8("spliced")).operation,
        file: wishFor(toUtf8("spliced")).file,
        created: now,
        expires: later,
        session: "0".repeat(64),
        signer: "signer-1",
      },
      rig.clientIdentity.signer,
    );
    // The requester's own, valid request, but of another session: the exporter value differs.
    const client = rig.client();
    await client.certificates();
    const live = [...rig.sessions].at(-1)!;
    assert.notEqual(live, session);
    const reply = await live.handle({ seq: 99, type: "sign", envelope: toBase64(envelope) });
    assert.ok(!reply.ok && reply.code === "signing/bad-request");
    assert.equal(rig.keys.made, made);
  });
});

describe("the relay", () => {
  const raw = async (who?: Identity): Promise<TLSSocket> => {
    const socket = await connectPinned(
      { host: "127.0.0.1", port: rig.ports.clients, pin: rig.gatewayIdentity.spki },
      who ?? (await identity()),
    );
    socket.on("error", () => {});
    return socket;
  };
  const closed = (socket: Socket): Promise<void> =>
    new Promise((resolve) => socket.once("close", () => resolve()).resume());

  it("closes a connection that announces an oversize frame, before its payload", async () => {
    const socket = await raw();
    const header = new Uint8Array(HEADER);
    header[0] = 3;
    new DataView(header.buffer).setUint32(9, MAX_PAYLOAD + 1);
    socket.write(header);
    await closed(socket);
  });

  it("closes a connection that greets with something else than a greeting", async () => {
    for (const payload of ["{", '{"role":"signer","signer":"signer-1"}', '{"role":"client"}']) {
      const socket = await raw();
      socket.write(encodeFrame({ type: "hello", session: 0n, payload: toUtf8(payload) }));
      await closed(socket);
    }
  });

  it("closes a connection whose greeting is slow", { timeout: 15_000 }, async () => {
    const socket = await raw();
    socket.write(Uint8Array.of(1, 0));
    const from = performance.now();
    await closed(socket);
    assert.ok(performance.now() - from < 10_000);
  });

  it("refuses a signer whose key it does not know", async () => {
    const socket = await connectPinned(
      { host: "127.0.0.1", port: rig.ports.signers, pin: rig.gatewayIdentity.spki },
      await identity(),
    );
    socket.on("error", () => {});
    socket.write(
      encodeFrame({ type: "hello", session: 0n, payload: toUtf8('{"role":"signer","signer":"signer-1"}') }),
    );
    await closed(socket);
  });

  it("ends a session that uses up its byte budget", async () => {
    const socket = await raw();
    socket.write(
      encodeFrame({ type: "hello", session: 0n, payload: toUtf8('{"role":"client","signer":"*"}') }),
    );
    const { session } = await nextFrame(socket, "open", 5000);
    for (let i = 0; i < 6; i++)
      socket.write(encodeFrame({ type: "data", session, payload: new Uint8Array(MAX_PAYLOAD) }));
    await closed(socket);
  });

  it("says that no signer is there when the wanted one is not", async () => {
    const socket = await raw();
    socket.write(
      encodeFrame({ type: "hello", session: 0n, payload: toUtf8('{"role":"client","signer":"ghost"}') }),
    );
    await assert.rejects(nextFrame(socket, "open", 10_000), { code: "signing/unreachable" });
  });

  it("is refused by a client that expects another key", async () => {
    await assert.rejects(
      rig
        .client({
          service: rig.description({
            gateways: [{ address: `127.0.0.1:${rig.ports.clients}`, spki: "0".repeat(64) }],
          }),
          patience: 0,
        })
        .certificates(),
      { code: "signing/wrong-peer" },
    );
  });

  it("that is not there is a matter of the network", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    await assert.rejects(rig.client({ service: through(port), patience: 0 }).certificates(), {
      code: "signing/unreachable",
    });
  });
});
