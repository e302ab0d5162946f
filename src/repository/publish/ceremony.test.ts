// Tests of signing by people who do not meet: requests, what a signer reads, signatures, quorum, staleness.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { OperatorWorld } from "../../testing/operator-world.ts";
import { describeChange } from "./describe-change.ts";
import { emptyTargets } from "./draft.ts";
import { findKeyid, removeKey, replaceKey, rolesOfKey } from "./key-changes.ts";
import { makeRoot, productDelegation } from "./new-repository.ts";
import type { Outcome } from "./publisher.ts";
import {
  describeRequest,
  parseRequest,
  parseSignatures,
  partsOf,
  requestFor,
  requestStatus,
  signRequest,
  withSignatures,
  writeRequest,
  writeSignatures,
  type SigningRequest,
} from "./signing-request.ts";

/** The organiser's side: keys of `away` are with other people. */
async function withPeopleAway(...away: readonly string[]) {
  const world = new OperatorWorld();
  await world.create();
  const people = new Map(
    away.map((name) => {
      const person = world.at(world.disk);
      for (const key of person.keys.keys()) if (key !== name) person.keys.delete(key);
      world.keys.delete(name);
      return [name, person] as const;
    }),
  );
  return { world, people };
}

function rotateRoot(world: OperatorWorld): Promise<Outcome> {
  return world.publisher().change(async (draft) => {
    const old = await findKeyid(draft, "root-1");
    await replaceKey(draft, await rolesOfKey(draft, old), old, world.key("root-4"));
  });
}

async function requestOf(world: OperatorWorld, outcome: Outcome): Promise<SigningRequest> {
  assert.ok(outcome.kind === "waiting");
  const request = await requestFor(outcome.published, outcome.parts, "a reason", world.clock.now());
  // As it travels: through a file.
  return parseRequest(writeRequest(request));
}

const signedBy = async (request: SigningRequest, person: OperatorWorld): Promise<SigningRequest> =>
  withSignatures(
    request,
    parseSignatures(writeSignatures(request, await signRequest(request, person.ring)), request),
  );

describe("a ceremony", () => {
  it("publishes when the last of two signers, who never met, has signed", async () => {
    const { world, people } = await withPeopleAway("root-1", "root-2", "root-3");
    const request = await requestOf(world, await rotateRoot(world));
    assert.equal((await world.publisher().read()).root.signed.version, 1, "nothing is published yet");
    const once = await signedBy(request, people.get("root-2")!);
    assert.deepEqual(
      requestStatus(once).map(({ missing }) => missing),
      [1, 0],
    );
    assert.equal((await world.publisher().complete((p) => partsOf(once, p))).kind, "waiting");
    const twice = await signedBy(once, people.get("root-3")!);
    assert.equal((await world.publisher().complete((p) => partsOf(twice, p))).kind, "published");
    assert.equal((await world.device().refresh()).root, 2);
  });

  it("begins a repository whose root keys were never on one machine", async () => {
    const world = new OperatorWorld();
    const setup = world.setup();
    const people = ["root-1", "root-2"].map((name) => {
      const person = world.at(world.disk);
      for (const key of person.keys.keys()) if (key !== name) person.keys.delete(key);
      return person;
    });
    for (const name of ["root-1", "root-2", "root-3"]) world.keys.delete(name);
    const outcome = await world.publisher().create(makeRoot(setup), async (draft) => {
      draft.put("targets", emptyTargets());
    });
    let request = await requestOf(world, outcome);
    for (const person of people) request = await signedBy(request, person);
    assert.equal((await world.publisher().complete((p) => partsOf(request, p))).kind, "published");
    await world.device().refresh();
  });

  it("counts a signer once, however often he signs", async () => {
    const { world, people } = await withPeopleAway("root-1", "root-2", "root-3");
    let request = await requestOf(world, await rotateRoot(world));
    for (let i = 0; i < 3; i++) request = await signedBy(request, people.get("root-2")!);
    assert.deepEqual(
      requestStatus(request).map(({ missing }) => missing),
      [1, 0],
    );
  });

  it("refuses signatures that do not verify, are for another request, or by somebody who is not asked", async () => {
    const { world, people } = await withPeopleAway("root-1", "root-2", "root-3");
    const request = await requestOf(world, await rotateRoot(world));
    const [good] = await signRequest(request, people.get("root-2")!.ring);
    const broken = { ...good!, sig: good!.sig.replace(/^../, good!.sig.startsWith("00") ? "01" : "00") };
    assert.throws(() => withSignatures(request, [broken]), { code: "publisher/stale-request" });
    const stranger = new OperatorWorld();
    stranger.key("stranger");
    assert.deepEqual(await signRequest(request, stranger.ring), []);
    const other = await requestOf(world, await rotateRoot(world.at(world.disk)));
    const [part] = other.parts;
    const changed = {
      ...other,
      parts: [{ ...part!, metadata: { ...part!.metadata, canonical: toUtf8("x") } }],
    };
    assert.throws(() => parseSignatures(writeSignatures(request, [good!]), changed as SigningRequest), {
      code: "publisher/stale-request",
    });
  });

  it("drops what was signed for an earlier state", async () => {
    const { world, people } = await withPeopleAway("root-2");
    world.keys.delete("root-3");
    const request = await signedBy(await requestOf(world, await rotateRoot(world)), people.get("root-2")!);
    // Meanwhile somebody publishes another root.
    const meanwhile = world.at(world.disk);
    meanwhile.keys.set("root-2", people.get("root-2")!.keys.get("root-2")!);
    await meanwhile.publisher().change(async (draft) => draft.setRoot((root) => root));
    await assert.rejects(
      world.publisher().complete((p) => partsOf(request, p)),
      { code: "publisher/stale-request" },
    );
  });

  it("does not believe a request about who must sign: the published root decides", async () => {
    const { world } = await withPeopleAway("root-1", "root-2", "root-3");
    const request = await requestOf(world, await rotateRoot(world));
    const lying = {
      ...request,
      parts: request.parts.map((part) => ({
        ...part,
        needs: part.needs.map((need) => ({ ...need, role: { ...need.role, threshold: 0 } })),
      })),
    };
    assert.equal((await world.publisher().complete((p) => partsOf(lying, p))).kind, "waiting");
  });

  it("refuses a request that lies about what is published now", async () => {
    const { world } = await withPeopleAway("root-1", "root-2");
    const request = await requestOf(world, await rotateRoot(world));
    const text = fromUtf8(writeRequest(request));
    const lie = text.replace(/"base": "[0-9a-f]{64}"/, `"base": "${"0".repeat(64)}"`);
    assert.notEqual(lie, text);
    assert.throws(() => parseRequest(toUtf8(lie)), { code: "publisher/stale-request" });
  });

  it("lets targets wait for its signer while releases go on", async () => {
    const { world, people } = await withPeopleAway("targets");
    const { role, keys } = productDelegation("shop", { keys: [world.key("products")], threshold: 1 });
    const outcome = await world.publisher().change((draft) => draft.delegate("targets", role, keys));
    const request = await signedBy(await requestOf(world, outcome), people.get("targets")!);
    assert.equal((await world.publisher().complete((p) => partsOf(request, p))).kind, "published");
    await world.release("1.0.0");
    assert.notEqual(await world.device().target("products/shop/1.0.0/release.json"), null);
  });
});

describe("what a signer reads", () => {
  it("names every key that comes and goes, and the thresholds", async () => {
    const { world } = await withPeopleAway("root-2", "root-3");
    const request = await requestOf(
      world,
      await world.publisher().change(async (draft) => {
        const old = await findKeyid(draft, "root-1");
        await replaceKey(draft, ["root"], old, world.key("mallory"));
        draft.setRoot((root) => ({
          ...root,
          roles: { ...root.roles, root: { ...root.roles.root, threshold: 1 } },
        }));
      }),
    );
    const [{ role, lines } = { role: "", lines: [] as readonly string[] }] = describeRequest(request);
    const text = lines.join("\n");
    assert.equal(role, "root");
    assert.match(text, /version 1 -> 2/);
    assert.match(text, /root: adds the key mallory \([0-9a-f]{16}, ed25519\)/);
    assert.match(text, /root: removes the key root-1/);
    assert.match(text, /root: needed signatures 2 -> 1 of 3/);
  });

  it("names files and delegations, and says when nothing else changes", async () => {
    const world = new OperatorWorld();
    await world.create();
    await world.release("1.0.0");
    const draft = await world.look();
    const { body } = await draft.role("targets");
    const { body: shop } = await draft.role("product.shop");
    const next = { ...body, version: body.version + 1 };
    assert.match(describeChange("targets", body, next).at(-1)!, /nothing else/);
    const [name, file] = [...shop.targets][0]!;
    const changed = {
      ...shop,
      targets: new Map([
        ...shop.targets,
        [name, { ...file, length: file.length + 1 }],
        ["products/shop/x/y", file],
      ] as const),
    };
    const text = describeChange("product.shop", shop, changed).join("\n");
    assert.match(text, /adds the file products\/shop\/x\/y/);
    assert.match(text, /changes the file products\/shop/);
    const { delegations } = body;
    const wider = {
      ...next,
      delegations: {
        ...delegations!,
        roles: delegations!.roles.map((role) => ({ ...role, paths: ["*/*/*"], terminating: false })),
      },
    };
    assert.match(
      describeChange("targets", body, wider).join("\n"),
      /product\.shop: products\/shop\/\*\/\* -> \*\/\*\/\*, not terminating/,
    );
    assert.match(
      describeChange("targets", body, { ...next, delegations: null }).join("\n"),
      /takes the delegation/,
    );
  });

  it("shouts when a key is exchanged behind its id", async () => {
    const world = new OperatorWorld();
    await world.create();
    const root = (await world.publisher().read()).root.signed;
    const [keyid] = root.roles.root.keyids;
    const keys = new Map([...root.keys, [keyid!, world.key("mallory").key.tuf]]);
    assert.match(describeChange("root", root, { ...root, keys }).join("\n"), /EXCHANGES the key/);
  });
});

describe("taking a key away", () => {
  it("is refused when too few would be left, and done everywhere else", async () => {
    const world = new OperatorWorld();
    await world.create();
    await world.release("1.0.0");
    const remove = (name: string) =>
      world.publisher().change(async (draft) => {
        const keyid = await findKeyid(draft, name);
        await removeKey(draft, await rolesOfKey(draft, keyid), keyid);
      });
    await assert.rejects(remove("targets"), { code: "publisher/bad-input" });
    await assert.rejects(remove("nobody"), { code: "publisher/bad-input" });
    assert.equal((await remove("root-3")).kind, "published");
    assert.deepEqual((await world.publisher().read()).root.signed.roles.root.keyids.length, 2);
    await assert.rejects(remove("root-2"), { code: "publisher/bad-input" });
    await world.device().refresh();
  });
});
