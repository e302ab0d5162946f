// Tests of what the signer builds: Authenticode, ELF and detached messages, stamped by an authority on loopback, as the client checks them.

import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import { toBase64, toHex } from "../../core/bytes.ts";
import { sha256 } from "../../core/digest.ts";
import { MemorySink, bytesSource } from "../../artifact/source.ts";
import { unsignedValues, parseSignedData } from "../../artifact/cms.ts";
import { buildIndirectData } from "../../artifact/authenticode.ts";
import { MICROSOFT_RFC3161 } from "../../artifact/timestamp.ts";
import { signPe } from "../../artifact/pe/sign.ts";
import * as oids from "../../der/oids.ts";
import type { Operation } from "../../signing/request/operation.ts";
import { answerTimestamp } from "../../testing/timestamp-authority.ts";
import { publisherPki, type Pki } from "../../testing/publisher-pki.ts";
import { tinyPe } from "../../testing/tiny-pe.ts";
import { systemClock } from "../system/clock.ts";
import { indirectDataOf, messageBuilder } from "./message-builder.ts";
import { systemRandom } from "../system/random.ts";

type Built = Exclude<Operation, { kind: "raw" }>;
let pki: Pki;
let server: Server;
let url: string;
let healthy = true;

before(async () => {
  pki = await publisherPki({ now: systemClock.now(), key: "p256" });
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", async () => {
      if (!healthy) return void response.writeHead(503).end();
      const { body } = await answerTimestamp(
        new Uint8Array(Buffer.concat(parts)),
        pki.stamper,
        [pki.root],
        systemClock.now(),
      );
      response.writeHead(200, { "content-type": "application/timestamp-reply" }).end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
after(() => server.close());

const build = (operation: Built, urls: readonly string[] | null = [url]) =>
  messageBuilder({
    clock: { ...systemClock, sleep: async () => {} },
    random: systemRandom,
    settings: () => (urls === null ? undefined : { urls: [...urls], "timeout-seconds": 2 }),
  })({
    operation,
    chain: [pki.leaf.certificate, pki.authority.certificate],
    key: pki.leaf.signer.publicKey,
    scheme: "ecdsa-sha2-nistp256",
    sign: (message) => pki.leaf.signer.sign(message),
  });

const digest = toHex(sha256(Uint8Array.of(1)));
const cms = (timestamp: boolean): Built => ({ kind: "cms", algorithm: "sha256", digest, timestamp });

describe("the messages that the signer builds", () => {
  it("hold the very structures that the file's own signer would have made", async () => {
    const sink = new MemorySink();
    await signPe({
      source: bytesSource(tinyPe()),
      sink,
      mode: "new",
      hash: "sha256",
      makeSignature: async (what) => {
        const operation: Built = {
          kind: "authenticode",
          format: "pe",
          algorithm: what.hash,
          digest: toHex(what.digest),
          timestamp: true,
          description: "Setup",
        };
        assert.deepEqual(indirectDataOf(operation), what.indirectData);
        const built = await build(operation);
        const [signer] = parseSignedData(built.cms).signers;
        assert.equal(unsignedValues(signer!, MICROSOFT_RFC3161).length, 1);
        assert.equal(built.timestamp, url);
        return built.cms;
      },
    });
    assert.ok(sink.bytes.length > tinyPe().length);
  });

  it("carry the stamp of detached signatures where CMS wants it, and none that was not asked for", async () => {
    const stamped = parseSignedData((await build(cms(true))).cms).signers[0]!;
    assert.equal(unsignedValues(stamped, oids.timeStampToken).length, 1);
    const plain = parseSignedData((await build(cms(false), null)).cms);
    assert.equal(plain.signers[0]!.unsignedAttributes.length, 0);
    assert.equal(plain.certificates.length, 2);
  });

  it("are stamped by the next authority when the first does not answer", async () => {
    assert.ok((await build(cms(true), ["http://127.0.0.1:1/", url])).timestamp);
  });

  it("are not made without the stamp that was asked for", async () => {
    healthy = false;
    try {
      await assert.rejects(build(cms(true)), { code: "signing/timestamp-failed" });
      await assert.rejects(build(cms(true), null), { code: "signing/timestamp-failed" });
    } finally {
      healthy = true;
    }
  });

  it("never hold indirect data that says another digest than the request", () => {
    const lie = buildIndirectData({
      type: "1.3.6.1.4.1.311.2.1.30",
      value: null,
      hash: "sha256",
      digest: sha256(Uint8Array.of(2)),
    });
    const operation = {
      kind: "authenticode",
      format: "msi",
      algorithm: "sha256",
      digest,
      timestamp: false,
    } as const;
    assert.throws(() => indirectDataOf({ ...operation, indirectData: toBase64(lie) }), {
      code: "signing/bad-request",
    });
    assert.throws(() => indirectDataOf(operation), { code: "signing/bad-request" });
    const truth = buildIndirectData({
      type: "1.3.6.1.4.1.311.2.1.30",
      value: null,
      hash: "sha256",
      digest: sha256(Uint8Array.of(1)),
    });
    assert.deepEqual(indirectDataOf({ ...operation, indirectData: toBase64(truth) }), truth);
  });
});
