// A dry run at the service: what would become of a request, told to those who may ask for signatures, and without a trace but in the signer's own log.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { CONFIG, identity, rawWish, signInAs, startRig } from "../../testing/signing-people.ts";
import { wishFor, type SigningRig } from "../../testing/signing-rig.ts";

let rig: SigningRig;
const said: string[] = [];
before(async () => {
  rig = await startRig({
    say: (_level, event, facts) => {
      if (event === "preview") said.push(JSON.stringify(facts));
    },
  });
});
after(() => rig.close());

describe("a dry run", () => {
  it("says which rule would allow it, and neither signs nor counts nor writes into the audit log", async () => {
    const client = rig.client();
    const offered = await client.certificate("limited");
    const before = (await rig.entries()).length;
    const made = rig.keys.made;
    const wish = { ...rawWish("counted"), certificate: "limited" };
    // The rule allows three.
    for (let i = 0; i < 5; i++)
      assert.deepEqual(await client.preview(wish, offered), {
        outcome: "allow",
        rule: "default",
        reasons: [],
        signer: "signer-1",
      });
    assert.equal((await rig.entries()).length, before);
    assert.equal(rig.keys.made, made);
    assert.match(said.at(-1)!, /"certificate":"limited","outcome":"allow"/);
    for (let i = 0; i < 3; i++)
      assert.equal(
        (await client.sign({ ...rawWish(`counted ${i}`), certificate: "limited" }, offered)).state,
        "signed",
      );
    const { outcome, reasons } = await client.preview(wish, offered);
    assert.equal(outcome, "deny");
    assert.deepEqual(
      reasons.map(({ rule, check }) => `${rule}/${check}`),
      ["default/per-hour"],
    );
  });

  it("says how many approvals it would wait for, and nobody is asked for them", async () => {
    const client = rig.client();
    const offered = await client.certificate("approved");
    const told = await client.preview(rawWish("asked"), offered);
    assert.deepEqual(told, { outcome: "ask", rule: "default", needed: 2, reasons: [], signer: "signer-1" });
    assert.deepEqual(await client.pending(), []);
  });

  it("says which rule stands against it, and why", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const { outcome, reasons } = await client.preview(wishFor(toUtf8("x"), "setup.exe"), offered);
    assert.equal(outcome, "deny");
    assert.deepEqual(reasons, [
      { rule: "default", check: "name", reason: "the file name fits no pattern of the rule" },
    ]);
  });

  it("tells nothing of rules that are for others", async () => {
    const others = `${CONFIG}\n[certificates.release.policy.secret]\nusers = ["alice"]\noperations = ["cms"]\nnames = ["secret-*"]\n`;
    await rig.service.reconfigure(rig.settings(others), "test");
    try {
      const client = rig.client();
      const offered = await client.certificate("release");
      const { reasons } = await client.preview(wishFor(toUtf8("x"), "setup.exe"), offered);
      assert.deepEqual(
        reasons.map(({ rule }) => rule),
        ["default"],
      );
    } finally {
      await rig.service.reconfigure(rig.settings(), "test");
    }
  });

  it("tells who may not use the certificate what a request would tell him, be it there, disabled, or not at all", async () => {
    const client = rig.client();
    const offered = await client.certificate("release");
    const refusal = async (certificate: string): Promise<string> => {
      const error = await client
        .preview({ ...wishFor(toUtf8("x")), certificate }, offered)
        .catch((e: Error & { code: string }) => e);
      assert.ok(error instanceof Error);
      return `${(error as Error & { code: string }).code} ${error.message}`;
    };
    const signed = await client
      .sign({ ...wishFor(toUtf8("x")), certificate: "never-existed" }, offered)
      .catch((e: Error & { code: string }) => `${e.code} ${e.message}`);
    assert.equal(await refusal("never-existed"), signed);
    const closed = CONFIG.replace('users = ["build", "alice"]', 'users = ["alice"]').replace(
      "[certificates.limited]",
      "[certificates.limited]\ndisabled = true",
    );
    await rig.service.reconfigure(rig.settings(closed), "test");
    try {
      assert.equal(await refusal("approved"), signed);
      assert.equal(await refusal("limited"), signed);
    } finally {
      await rig.service.reconfigure(rig.settings(), "test");
    }
    const bob = rig.client({ identity: await identity(), signIn: signInAs("bob") });
    await assert.rejects(bob.preview(wishFor(toUtf8("x")), offered), { code: "signing/denied" });
  });

  it("is refused to an old session, and by the rules of a request", async () => {
    rig.signers[0]!.old = true;
    try {
      const client = rig.client();
      const offered = await client.certificate("release");
      await assert.rejects(client.preview(wishFor(toUtf8("x")), offered), { code: "signing/old-signer" });
    } finally {
      rig.signers[0]!.old = false;
    }
    await rig.client().certificates();
    const session = [...rig.sessions].at(-1)!;
    const answer = await session.handle({ seq: 9, type: "preview", envelope: "AAAA" });
    assert.ok(!answer.ok);
  });
});
