// Approvals from request to signature, through a real relay.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { fromBase64, toHex } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { listLeaf, listRoot, type ListedFile } from "../../signing/request/request.ts";
import { inclusionProof } from "../../signing/audit/proof.ts";
import { merkleRoot } from "../../core/digest.ts";
import type { SigningRig } from "../../testing/signing-rig.ts";
import { identity, rawWish, signInAs, startRig } from "../../testing/signing-people.ts";

let rig: SigningRig;
before(async () => {
  rig = await startRig();
});
after(() => rig.close());

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

  it("of the requester himself are refused in a sentence, and so are his rejections", async () => {
    const alice = rig.client({ identity: await identity(), signIn: signInAs("alice") });
    const offered = await alice.certificate("approved");
    const wish = rawWish("mine");
    const pending = await alice.sign(wish, offered);
    assert.equal(pending.state, "pending");
    const shown = (await alice.pending()).find((r) => r.request === pending.request)!;
    const subject = { kind: "request", sha256: shown.requestHash } as const;
    const before = (await rig.entries()).length;
    for (const decision of ["approve", "reject"] as const)
      await assert.rejects(alice.approve(subject, decision, 3_600_000), {
        code: "signing/refused",
        message: /your own request/,
      });
    assert.equal((await rig.entries()).filter(({ n, kind }) => n >= before && kind === "approval").length, 0);
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
    const leaves = listed.map((file) => listLeaf(file));
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
    // The same file of the list again and again, waiting for the same approvals.
    const crowd = await Promise.all(
      Array.from({ length: 5 }, () => build.sign({ ...wishes[2]!, release: member(2) }, offered)),
    );
    const subject = { kind: "release", root: listRoot(listed), size: 3 } as const;
    for (const user of ["dave", "erin"]) {
      await rig
        .client({ identity: await identity(), signIn: signInAs(user) })
        .approve(subject, "approve", 3_600_000);
    }
    const before = rig.signers[0]!.keys.made;
    const race = await Promise.allSettled(
      [pending[2]!, ...crowd].map((each) => build.status(each.request, "signer-1", wishes[2]!, offered)),
    );
    assert.equal(race.filter(({ status }) => status === "fulfilled").length, 1, "one of six at once");
    assert.equal(rig.signers[0]!.keys.made, before + 1);
    for (const lost of race)
      if (lost.status === "rejected") assert.equal((lost.reason as { code: string }).code, "signing/denied");
    for (const i of [0, 1])
      assert.equal(
        (await build.status(pending[i]!.request, "signer-1", wishes[i]!, offered)).state,
        "signed",
      );
    await assert.rejects(build.sign({ ...wishes[0]!, release: member(0) }, offered), {
      code: "signing/denied",
    });
    await assert.rejects(build.sign({ ...rawWish("d"), release: member(0) }, offered), {
      code: "signing/bad-request",
    });
  });
});
