// The worked examples of spec/ are read by the code they describe.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../src/core/bytes.ts";
import { sha256Hex } from "../src/core/digest.ts";
import type { UpkeepError } from "../src/core/errors.ts";
import { openKeyFile } from "../src/keys/key-file.ts";
import { parseTufKey } from "../src/keys/public-key.ts";
import { readMessage } from "../src/message/common.ts";
import { WAKE_LIMIT, wakeSchema } from "../src/message/wake.ts";
import { openChannel } from "../src/release/channel.ts";
import { formatBackupHead, parseBackupHead } from "../src/signing/custody/backup.ts";
import { openRelease } from "../src/release/manifest.ts";

const examples = (page: string): readonly string[] =>
  [
    ...readFileSync(new URL(`../spec/${page}`, import.meta.url), "utf8").matchAll(/```json\n([\s\S]*?)```/g),
  ].map((match) => match[1]!);

describe("the examples of spec/", () => {
  const [keyFile] = examples("keys.md");
  const trusted = { keys: [openKeyFile(toUtf8(keyFile!), null).publicKey], threshold: 1 };

  it("hold a key that opens", () => {
    assert.equal(trusted.keys[0]!.scheme, "ed25519");
  });

  it("hold a release that verifies and says what the page shows", () => {
    const [payload, envelope] = examples("release.md");
    const manifest = openRelease(toUtf8(envelope!), trusted, { product: "shop", version: "1.1.0" });
    assert.deepEqual(manifest, JSON.parse(payload!));
  });

  it("hold a channel that verifies and points to that release", () => {
    const [payload, envelope] = examples("channel.md");
    const pointer = openChannel(toUtf8(envelope!), trusted, { product: "shop", channel: "stable" });
    assert.deepEqual(pointer, JSON.parse(payload!));
    assert.equal(pointer.sha256, sha256Hex(toUtf8(examples("release.md")[1]!)));
  });

  it("hold the head of a signer's backup that is read", () => {
    const [head] = examples("signer-backup.md");
    assert.equal(parseBackupHead(toUtf8(head!)).signer, "signer-1");
    assert.equal(fromUtf8(formatBackupHead(parseBackupHead(toUtf8(head!)))), head);
  });
});

describe("the vectors of spec/growth.md", () => {
  const read = (file: string): Uint8Array => readFileSync(new URL(`vectors/growth/${file}`, import.meta.url));
  type Case = {
    file: string;
    kind: "release" | "channel" | "wake";
    result: string;
    unknown?: string[];
    version?: string;
  };
  const { publicKey, product, channel, cases } = JSON.parse(fromUtf8(read("cases.json"))) as {
    publicKey: string;
    product: string;
    channel: string;
    cases: Case[];
  };
  const key = parseTufKey({ keytype: "ed25519", scheme: "ed25519", keyval: { public: publicKey } });
  const trusted = { keys: [key], threshold: 1 };
  const open = {
    release: (bytes: Uint8Array) => openRelease(bytes, trusted, { product }),
    channel: (bytes: Uint8Array) => openChannel(bytes, trusted, { product, channel }),
    wake: (bytes: Uint8Array) => readMessage(bytes, wakeSchema, "wake-up", WAKE_LIMIT),
  };
  for (const { file, kind, result, unknown, version } of cases) {
    it(`${file} is ${result === "ok" ? "taken" : `refused with ${result}`}`, () => {
      if (result === "ok") assert.ok(open[kind](read(file)));
      else
        assert.throws(
          () => open[kind](read(file)),
          (error: UpkeepError) => {
            assert.equal(error.code, result);
            if (unknown !== undefined) {
              assert.deepEqual([error.facts["unknown"], error.facts["version"]], [unknown, version]);
            }
            return true;
          },
        );
    });
  }
});
