// Old and new together: conversations recorded from older programs, held with the signer and the client of today.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { fromBase64, fromUtf8, toBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import { formatInstant, MINUTE } from "../../core/instant.ts";
import type { Json } from "../../core/json.ts";
import { signApproval, type Approval } from "../../signing/policy/approval.ts";
import { encodeFrame } from "../../signing/wire/frame.ts";
import { readClientHello, readOpenForClient } from "../../signing/wire/greeting.ts";
import {
  checkAnswer,
  encodeMessage,
  EXPORTER_LABEL,
  MessageReader,
  parseCall,
  parseReply,
  type CallBody,
  type CallMessage,
} from "../../signing/wire/protocol.ts";
import { digestWord } from "../../signing/request/operation.ts";
import { listRoot, signRequest, type SigningRequest } from "../../signing/request/request.ts";
import { newId, SigningRig, wishFor } from "../../testing/signing-rig.ts";
import { systemClock } from "../system/clock.ts";
import { FrameDuplex, nextFrame } from "./frame-stream.ts";
import { connectPinned, handshake, identityOf, type Identity } from "./pinned-tls.ts";
import { systemRandom } from "../system/random.ts";

type Reply = { readonly ok: boolean; readonly answer?: Json };
type Recorded = {
  readonly what: string;
  readonly hello: Json;
  readonly open: Json;
  readonly calls: readonly { readonly call: CallMessage; readonly reply: Reply }[];
};
const recorded = (version: number): readonly Recorded[] =>
  JSON.parse(
    readFileSync(
      new URL(`../../../test/vectors/signing-wire/version-${version}.json`, import.meta.url),
      "utf8",
    ),
  ) as readonly Recorded[];

/** Every member there is, with the kind of its value: `answer.certificates[].name string`. */
function membersOf(value: unknown, path = ""): ReadonlySet<string> {
  if (Array.isArray(value)) return new Set(value.flatMap((each) => [...membersOf(each, `${path}[]`)]));
  if (typeof value !== "object" || value === null) return new Set([`${path} ${typeof value}`]);
  return new Set(
    Object.entries(value).flatMap(([name, member]) => [
      `${path}.${name}`,
      ...membersOf(member, `${path}.${name}`),
    ]),
  );
}

/** Replies of one kind have the same members, but for those that only some of them carry. */
function kindOf(call: { readonly type: string }, reply: Reply): string {
  const { state, outcome } = (reply.answer ?? {}) as { state?: string; outcome?: string };
  return `${call.type} ${reply.ok ? "ok" : "refused"} ${state ?? outcome ?? ""}`;
}

const config = (approver: string): string => `
[users.build]
kind = "machine"
keys = ["@ci"]
[users.ann]
kind = "machine"
roles = ["approver"]
keys = ["${approver}"]
[keys.release]
custody = "file"
scheme = "rsa-pkcs1v15-sha256"
also-schemes = ["rsa-pkcs1v15-sha384", "rsa-pkcs1v15-sha512"]
[certificates.release]
key = "release"
[certificates.release.policy.default]
users = ["build"]
operations = ["authenticode", "elf", "cms", "raw"]
[certificates.slow]
key = "release"
[certificates.slow.policy.default]
users = ["build"]
operations = ["cms"]
approvals = 1
approvers = ["ann"]
`;

let rig: SigningRig;
let approver: Identity;
before(async () => {
  approver = await identityOf(generateKeyPairSync("ed25519").privateKey, systemClock, systemRandom);
  const release = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  rig = await SigningRig.start({ config: config(approver.spki), release });
  const settings = rig.settings();
  const [, loaded] = [...settings.certificates][0]!;
  const certificates = new Map(["release", "slow"].map((name) => [name, loaded]));
  await rig.service.reconfigure({ ...settings, certificates }, "test");
  await waitingOfToday();
});
after(() => rig.close());

/** A file of a list as clients make lists today, which waits: whoever asks what waits is told of it. */
async function waitingOfToday(): Promise<void> {
  const client = rig.client();
  const bytes = toUtf8("of today");
  const nonce = newId();
  const wish = { ...wishFor(bytes, "today.bin"), certificate: "slow" };
  const listed = { certificate: "slow", operation: "cms", name: "today.bin" } as const;
  const root = listRoot([{ ...listed, digest: digestWord(wish.operation) }], nonce);
  const release = { root, size: 1, index: 0, proof: [], nonce };
  const { state } = await client.sign({ ...wish, release }, await client.certificate("slow"));
  assert.equal(state, "pending");
}

/** A session in which a test says word for word what it likes. */
async function sessionAs(identity: Identity, hello: Json) {
  const { clients: port } = rig.ports;
  const outer = await connectPinned({ host: "127.0.0.1", port, pin: rig.gatewayIdentity.spki }, identity);
  outer.on("error", () => {});
  outer.write(encodeFrame({ type: "hello", session: 0n, payload: toUtf8(JSON.stringify(hello)) }));
  const { session, payload } = await nextFrame(outer, "open", 5000);
  const duplex = new FrameDuplex(outer, session);
  const inner = await handshake(duplex, rig.signers[0]!.identity.spki, identity, "the signer");
  inner.on("error", () => {});
  const binding = toHex(new Uint8Array(inner.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.alloc(0))));
  const reader = new MessageReader();
  const ask = (seq: number, body: CallBody): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const hear = (part: Buffer): void => {
        for (const bytes of reader.push(part)) {
          inner.off("data", hear);
          resolve(JSON.parse(fromUtf8(bytes)) as Reply);
        }
      };
      inner.on("data", hear);
      inner.once("close", () => reject(new Error(`the signer hung up on ${body.type}`)));
      inner.write(encodeMessage({ seq, ...body }));
    });
  return { outer, open: JSON.parse(fromUtf8(payload)) as Json, binding, ask };
}

const payloadOf = (envelope: string): unknown =>
  JSON.parse(
    fromUtf8(fromBase64((JSON.parse(fromUtf8(fromBase64(envelope))) as { payload: string }).payload)),
  );

/** The recorded call as it would be made now: with ids, times, session and signature of this run, and every other member as it was. */
async function asNow(
  call: CallMessage,
  session: { readonly binding: string; readonly identity: Identity },
  ids: Map<string, string>,
  refused: boolean,
): Promise<CallBody> {
  const { seq: _seq, ...body } = call;
  const times = {
    created: formatInstant(systemClock.now()),
    expires: formatInstant(systemClock.now() + 5 * MINUTE),
  };
  const idNow = (id: string): string => {
    const known = ids.get(id) ?? newId();
    ids.set(id, known);
    return known;
  };
  if (body.type === "status" || body.type === "table") return { ...body, request: idNow(body.request) };
  if (body.type === "approve") {
    const approval = { ...(payloadOf(body.envelope) as Approval), ...times, nonce: newId() };
    return { ...body, envelope: toBase64(await signApproval(approval, session.identity.signer)) };
  }
  if (body.type !== "sign" && body.type !== "preview") return body;
  const old = payloadOf(body.envelope) as SigningRequest;
  const request = { ...old, ...times, id: idNow(old.id), session: session.binding };
  if (refused) request.certificate = "nobodys";
  return { ...body, envelope: toBase64(await signRequest(request, session.identity.signer)) };
}

for (const version of [1, 2]) {
  const sessions = recorded(version);
  const seen = new Map<string, { all: Set<string>; always: Set<string> }>();
  for (const { call, reply } of sessions.flatMap(({ calls }) => calls)) {
    const members = membersOf(reply);
    const known = seen.get(kindOf(call, reply));
    if (known === undefined)
      seen.set(kindOf(call, reply), { all: new Set(members), always: new Set(members) });
    else {
      for (const member of members) known.all.add(member);
      for (const member of known.always) if (!members.has(member)) known.always.delete(member);
    }
  }

  describe(`a client of protocol version ${version}`, () => {
    const ids = new Map<string, string>();
    for (const { what, hello, open, calls } of sessions) {
      it(`gets answers from the signer of today that it can read: ${what}`, async () => {
        const user = calls.map(({ reply }) => (reply.answer as { user?: string })?.user).find(Boolean);
        const identity = user === "ann" ? approver : rig.clientIdentity;
        const session = await sessionAs(identity, hello);
        try {
          assert.deepEqual(membersOf(session.open), membersOf(open));
          for (const { call, reply: then } of calls) {
            const body = await asNow(call, { ...session, identity }, ids, !then.ok);
            const reply = await session.ask(call.seq, body);
            assert.equal(kindOf(body, reply), kindOf(call, then), JSON.stringify(reply));
            const { all, always } = seen.get(kindOf(call, then))!;
            const members = membersOf(reply);
            assert.deepEqual(
              [...members].filter((member) => !all.has(member)),
              [],
              "it would refuse these members",
            );
            assert.deepEqual(
              [...always].filter((member) => !members.has(member)),
              [],
              "it would miss these members",
            );
          }
        } finally {
          session.outer.destroy();
        }
      });
    }
  });

  describe(`a signer of protocol version ${version}`, () => {
    it("is understood by the client of today in every answer", () => {
      for (const { hello, open, calls } of sessions) {
        readClientHello(toUtf8(JSON.stringify(hello)));
        readOpenForClient(toUtf8(JSON.stringify(open)));
        for (const { call, reply } of calls) {
          const { type } = parseCall(toUtf8(JSON.stringify(call)));
          const read = parseReply(toUtf8(JSON.stringify(reply)));
          if (read.ok) assert.deepEqual(checkAnswer(type, read.answer), reply.answer);
        }
      }
    });
  });
}
