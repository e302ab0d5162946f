// Signing in at a signer with keys, passwords and tokens, honestly and not.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { generateKeyPair, SignJWT } from "jose";
import type { AuditEntry } from "../../signing/audit/entry.ts";
import { toUtf8 } from "../../core/bytes.ts";
import { wishFor, type SigningRig } from "../../testing/signing-rig.ts";
import type { Clock } from "../../core/clock.ts";
import { systemClock } from "../system/clock.ts";
import type { Identity } from "./pinned-tls.ts";
import { identity, issuerKeys, signInAs, startRig, token } from "../../testing/signing-people.ts";

let rig: SigningRig;
before(async () => {
  rig = await startRig();
});
after(() => rig.close());

const entries = () => rig.entries();
const lastOf = async (kind: AuditEntry["kind"]): Promise<AuditEntry> =>
  (await entries()).findLast((e) => e.kind === kind)!;

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

  it("gives a token that eight keys show at the same moment to one of them (race for a stolen token)", async () => {
    const own = await startRig();
    try {
      const stolen = await token("https://ci.example", {});
      const asked = await Promise.allSettled(
        (await Promise.all(Array.from({ length: 8 }, () => identity()))).map((who) =>
          own
            .client({ identity: who, signIn: async () => ({ method: "oidc", token: stolen }) })
            .certificates(),
        ),
      );
      assert.equal(asked.filter(({ status }) => status === "fulfilled").length, 1);
      const sessions = (await own.entries()).filter((e) => e.kind === "session");
      assert.equal(sessions.filter((e) => e.kind === "session" && e.outcome === "accepted").length, 1);
      assert.equal(sessions.length, 8);
    } finally {
      await own.close();
    }
  });

  it("refuses a key that nobody registered", async () => {
    await assert.rejects(rig.client({ identity: await identity() }).certificates(), {
      code: "signing/refused",
    });
  });

  it("ends with the session's time at the signer, and a client signs in anew by itself", async () => {
    let shift = 0;
    const clock: Clock = {
      now: () => systemClock.now() + shift,
      monotonic: () => systemClock.monotonic(),
      sleep: (ms, signal) => systemClock.sleep(ms, signal),
    };
    const aged = await startRig({ clock });
    try {
      const client = aged.client();
      await client.certificates();
      const [session] = aged.sessions;
      shift = 14 * 60_000;
      await aged.dialler.review();
      assert.ok(!session!.ended);
      shift = 16 * 60_000;
      await aged.dialler.review();
      assert.ok(session!.ended);
      assert.ok((await client.certificates()).length > 0);
      assert.equal(aged.sessions.size, 2);
    } finally {
      await aged.close();
    }
  });

  it("leaves no password, code, token or request in the log lines of gateway and signer", async () => {
    const lines: string[] = [];
    const noisy = await startRig({
      say: (level, event, facts) => void lines.push(JSON.stringify({ level, event, ...facts })),
    });
    try {
      const word = await token("https://ci.example", {});
      const secrets = [word, "correct horse battery", "wrong password here", "totally secret file"];
      const codes: string[] = [];
      for (const secret of ["correct horse battery", "wrong password here"]) {
        const given = signInAs("dave", secret);
        const signIn = async () => {
          const made = await given();
          codes.push(made.code);
          return made;
        };
        await noisy
          .client({ identity: await identity(), signIn })
          .certificates()
          .catch(() => {});
      }
      const ci = noisy.client({
        identity: await identity(),
        signIn: async () => ({ method: "oidc", token: word }),
      });
      const offered = await ci.certificate("release");
      await ci.sign(wishFor(toUtf8("totally secret file")), offered);
      await assert.rejects(ci.sign({ ...wishFor(toUtf8("x")), certificate: "slow" }, offered));
      const events = new Set(lines.map((line) => (JSON.parse(line) as { event: string }).event));
      assert.ok(events.has("session") && events.has("refused"));
      for (const line of lines) {
        for (const secret of secrets) assert.ok(!line.includes(secret), line);
        for (const code of codes) assert.ok(!line.includes(`"${code}"`), line);
        assert.ok(!line.includes("BEGIN") && line.length < 1000, line);
      }
    } finally {
      await noisy.close();
    }
  });
});
