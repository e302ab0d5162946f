// Page-hash tables through the whole service: in as many sessions as a small budget makes of it, and past a hostile signer.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, beforeEach, describe, it } from "node:test";
import { equalBytes, toBase64, toHex } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { attachContent } from "../../artifact/attach-content.ts";
import { digest } from "../../artifact/cms-build.ts";
import { parseSignedData } from "../../artifact/cms.ts";
import { signAuthenticode } from "../../artifact/authenticode-sign.ts";
import { CTL_OID } from "../../artifact/cat/catalog.ts";
import { peIndirectData } from "../../artifact/pe/indirect.ts";
import { content, encoded, parseDer } from "../../der/reader.ts";
import { octets, sequence } from "../../der/writer.ts";
import type { Build } from "../../signing/ports.ts";
import type { OfferedCertificate } from "../../signing/wire/protocol.ts";
import type { Operation } from "../../signing/request/operation.ts";
import { lengthFor, pageTable } from "../../testing/page-table.ts";
import { newId, SigningRig } from "../../testing/signing-rig.ts";
import { systemClock } from "../system/clock.ts";
import { identityOf } from "./pinned-tls.ts";
import { systemRandom } from "../system/random.ts";
import type { SigningClient, SignWish } from "./client.ts";

const CONFIG = `
[users.build]
kind = "machine"
keys = ["@ci"]
[keys.release]
custody = "file"
scheme = "ecdsa-sha2-nistp256"
[certificates.release]
key = "release"
[certificates.release.policy.default]
users = ["build"]
operations = ["authenticode"]
names = ["*.exe", "*.cat"]
unread-catalogs = true
`;

const image = new Uint8Array(32).fill(3);
const table = pageTable(20_000);

function wishFor(name = "a.exe", rows: Uint8Array = table): SignWish {
  return {
    certificate: "release",
    operation: {
      kind: "authenticode",
      format: "pe",
      algorithm: "sha256",
      digest: toHex(image),
      timestamp: false,
      pageHashes: { algorithm: "sha256", sha256: sha256Hex(rows), length: rows.length },
    },
    file: { name, length: lengthFor(20_000), sha256: sha256Hex(image) },
    id: newId(),
    indirectData: peIndirectData("sha256", image, { algorithm: "sha256", table: rows }),
    table: rows,
  };
}

type Authenticode = Extract<Operation, { kind: "authenticode" }>;

let rig: SigningRig;
let offered: OfferedCertificate;
let hostile: ((honest: Build) => Build) | null = null;

before(async () => {
  rig = await SigningRig.start({
    config: CONFIG,
    gateway: "[limits]\nsession-bytes = 262144\nconnects-per-second = 1000\nconnects-burst = 1000\n",
    build: (honestly) => (order) => (hostile === null ? honestly : hostile(honestly))(order),
  });
  offered = await rig.client().certificate("release");
});
after(() => rig.close());
beforeEach(() => {
  hostile = null;
});

async function obtain(wish: SignWish, client: SigningClient = rig.client()): Promise<Uint8Array> {
  const signed = await client.sign(wish, offered);
  assert.ok(signed.state === "signed");
  return signed.reply;
}

describe("a table that is larger than a session may be", () => {
  it("comes in several sessions; the reply holds the very indirect data, signed once", async () => {
    const made = rig.keys.made;
    const wish = wishFor();
    const client = rig.client();
    const signed = await client.sign(wish, offered);
    assert.ok(signed.state === "signed");
    const reply = parseSignedData(signed.reply);
    assert.ok(equalBytes(encoded(reply.content!), wish.indirectData!));
    assert.equal(rig.keys.made, made + 1);
    assert.ok((await client.traffic()) > 262_144 * 2);
    const again = await client.status(signed.request, signed.signer, wish, offered);
    assert.ok(again.state === "signed" && equalBytes(again.reply, reply.der));
    assert.equal(rig.keys.made, made + 1);
  });

  it("comes for each of several files of one client, one after the other", async () => {
    const client = rig.client();
    const wishes = ["b.exe", "c.exe", "d.exe"].map((name) => wishFor(name, pageTable(6000)));
    const replies = await Promise.all(wishes.map((wish) => obtain(wish, client)));
    for (const [i, reply] of replies.entries())
      assert.ok(equalBytes(encoded(parseSignedData(reply).content!), wishes[i]!.indirectData!));
  });

  it("is never asked for by a signer that would refuse the request", async () => {
    const client = rig.client();
    const before = await client.traffic();
    await assert.rejects(obtain(wishFor("denied.dll"), client), { code: "signing/denied" });
    assert.ok((await client.traffic()) - before < 32 * 1024);
  });

  it("is asked for when the approvals are there, not before", async () => {
    const approver = await identityOf(generateKeyPairSync("ed25519").privateKey, systemClock, systemRandom);
    const asking = `${CONFIG}approvals = 1\napprovers = ["alice"]\n[users.alice]\nkind = "machine"\nroles = ["approver"]\nkeys = ["${approver.spki}"]\n`;
    await rig.service.reconfigure(rig.settings(asking), "test");
    try {
      const client = rig.client();
      const before = await client.traffic();
      const wish = wishFor("approved.exe");
      const pending = await client.sign(wish, offered);
      assert.ok(pending.state === "pending");
      assert.ok((await client.traffic()) - before < 32 * 1024);
      const alice = rig.client({ identity: approver });
      const shown = (await alice.pending()).find(({ request }) => request === pending.request)!;
      await alice.approve({ kind: "request", sha256: shown.requestHash }, "approve", 3_600_000);
      const signed = await client.status(pending.request, pending.signer, wish, offered);
      assert.ok(signed.state === "signed");
      assert.ok(equalBytes(encoded(parseSignedData(signed.reply).content!), wish.indirectData!));
    } finally {
      await rig.service.reconfigure(rig.settings(), "test");
    }
  });

  it("survives a restart of signer and relay in the middle", async () => {
    const wish = wishFor("restart.exe");
    const signing = obtain(wish);
    await new Promise((resolve) => setTimeout(resolve, 150));
    await rig.stopSigner();
    await rig.startSigner();
    await rig.relay.close();
    await rig.startRelay();
    assert.ok(equalBytes(encoded(parseSignedData(await signing).content!), wish.indirectData!));
  });

  it("is refused out of turn: before a request asked for it, and for another one", async () => {
    const client = rig.client();
    await client.certificates();
    const session = [...rig.sessions].at(-1)!;
    const call = { seq: 7, type: "table", request: newId(), offset: 0, part: "AAAA" } as const;
    const answer = await session.handle(call);
    assert.ok(!answer.ok && answer.code === "signing/bad-request");
  });

  it("is refused when the table is not the one that the request names", async () => {
    const wish = { ...wishFor("liar.exe"), table: table.with(100, 254) };
    const made = rig.keys.made;
    await assert.rejects(obtain(wish), { code: "signing/bad-request" });
    assert.equal(rig.keys.made, made);
  });

  it("is refused when its rows are not those of a program, and the key is not used", async () => {
    const made = rig.keys.made;
    const rows = table.slice();
    new DataView(rows.buffer).setUint32(36 * 9000, 1, true);
    await assert.rejects(obtain(wishFor("rows.exe", rows)), {
      code: "signing/bad-request",
      message: /its row 9000 is for the offset 1/,
    });
    // The same within a request.
    const wish = wishFor("rows.exe", pageTable(10).fill(0, 40, 72));
    const { operation, table: _table, ...rest } = wish as SignWish & { operation: Authenticode };
    const inside = { algorithm: "sha256", table: toBase64(wish.table!) } as const;
    await assert.rejects(obtain({ ...rest, operation: { ...operation, pageHashes: inside } }), {
      code: "signing/bad-request",
      message: /its table of page hashes is malformed: its row 1 has no digest/,
    });
    assert.equal(rig.keys.made, made);
  });

  it("is refused by size and shape before a byte of it comes", async () => {
    for (const length of [35, 36, 36 * 3 + 1]) {
      const wish = wishFor("shape.exe", table.slice(0, length));
      await assert.rejects(obtain(wish), { code: "signing/bad-request" });
    }
    const wish = wishFor("huge.exe");
    const operation = wish.operation as Extract<Operation, { kind: "authenticode" }>;
    const pageHashes = { algorithm: "sha256", sha256: sha256Hex(table), length: 36 * 1_000_000 } as const;
    await assert.rejects(obtain({ ...wish, operation: { ...operation, pageHashes } }), {
      code: "schema/invalid",
    });
  });
});

const list = sequence(octets(new Uint8Array(64).fill(1)));
const catalogWish = (): SignWish => ({
  certificate: "release",
  operation: {
    kind: "authenticode",
    format: "cat",
    algorithm: "sha256",
    digest: toHex(digest("sha256", content(parseDer(list)))),
    timestamp: false,
    contentType: CTL_OID,
  },
  file: { name: "a.cat", length: 100, sha256: sha256Hex(list) },
  indirectData: list,
});

describe("the client of content that stays with it refuses a signer", () => {
  const signedBy =
    (indirectData: Uint8Array, contentType?: string): Build =>
    async ({ chain, key, sign }) => ({
      cms: await signAuthenticode({
        indirectData,
        ...(contentType === undefined ? {} : { contentType }),
        hash: "sha256",
        certificate: chain[0]!,
        chain: [],
        signer: { publicKey: key, sign: (message: Uint8Array) => sign(message) },
      }),
    });
  const other = peIndirectData("sha256", image, { algorithm: "sha256", table: table.slice(36, 36 * 11) });

  for (const [kind, wish] of [
    ["page hashes", () => wishFor("e.exe", pageTable(10))],
    ["a catalog", catalogWish],
  ] as const) {
    it(`that signs something else than ${kind} of ours`, async () => {
      hostile = (honest) => (order) =>
        honest({
          ...order,
          contentDigest: new Uint8Array(32),
          operation: { ...order.operation, digest: "0".repeat(64) } as typeof order.operation,
        });
      await assert.rejects(obtain(wish()), { code: "signing/bad-reply" });
    });

    it(`that sends ${kind} of its own along, even the right one`, async () => {
      hostile = (honest) => async (order) => {
        const { cms } = await honest(order);
        return { cms: attachContent(cms, wish().indirectData!) };
      };
      await assert.rejects(obtain(wish()), { code: "signing/bad-reply" });
      hostile = () => signedBy(other);
      await assert.rejects(obtain(wish()), { code: "signing/bad-reply" });
    });

    it(`that signs ${kind} as content of another type`, async () => {
      hostile = () => signedBy(wish().indirectData!, "1.2.840.113549.1.7.1");
      await assert.rejects(obtain(wish()), { code: "signing/bad-reply" });
    });
  }

  it("but takes the catalog of an honest one, its list in its place", async () => {
    const reply = parseSignedData(await obtain(catalogWish()));
    assert.equal(reply.contentType, CTL_OID);
    assert.ok(equalBytes(encoded(reply.content!), list));
  });

  it("and still has small tables signed within the request, as older clients do", async () => {
    const rows = pageTable(10);
    const wish = wishFor("small.exe", rows);
    const { operation } = wish as { operation: Extract<Operation, { kind: "authenticode" }> };
    const { table: _table, ...rest } = wish;
    const inside = { ...operation, pageHashes: { algorithm: "sha256", table: toBase64(rows) } } as const;
    const reply = await obtain({ ...rest, operation: inside });
    assert.ok(equalBytes(encoded(parseSignedData(reply).content!), wish.indirectData!));
  });
});
