// The vectors of spec/message.md: each message, judged by the mailbox of the device that it was made for.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { fromBase64, fromUtf8, toUtf8 } from "../src/core/bytes.ts";
import { makeDirectories, writeAtomic } from "../src/core/disk.ts";
import { parseInstant } from "../src/core/instant.ts";
import type { Json } from "../src/core/json.ts";
import { parseTufKey } from "../src/keys/public-key.ts";
import { localSigner } from "../src/keys/signer.ts";
import { openMailbox } from "../src/agent/mailbox.ts";
import { openMessageKeys } from "../src/agent/message-keys.ts";
import { EagerClock, scriptedRandom } from "../src/testing/agent-world.ts";
import { MemoryDisk } from "../src/testing/memory-disk.ts";

const { cases, ...given } = JSON.parse(
  fromUtf8(readFileSync(new URL("vectors/message/cases.json", import.meta.url))),
) as {
  readonly device: string;
  readonly privateKey: string;
  readonly fleet: string;
  readonly now: string;
  readonly messenger: { readonly keyid: string; readonly key: Json };
  readonly cases: readonly { readonly what: string; readonly result: string; readonly message: string }[];
};

async function judge(message: Uint8Array): Promise<string> {
  const [disk, clock] = [new MemoryDisk(), new EagerClock()];
  clock.setWall(parseInstant(given.now));
  const world = { disk, clock, random: scriptedRandom(1) };
  const key = { privateKey: given.privateKey, made: clock.now(), replaced: null, uses: 0 };
  await makeDirectories(disk, "/agent/identity", 0o700);
  const file = toUtf8(JSON.stringify({ format: 1, keys: [key] }));
  await writeAtomic(disk, "/agent/identity/message-keys.json", file, 0o600);
  const reportKey = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
  const { device, fleet } = given;
  const keys = await openMessageKeys(world, "/agent/identity", { device, key: reportKey });
  const provenTime = async (): Promise<null> => null;
  const mailbox = await openMailbox({ world, folder: "/agent", device, fleet, keys, provenTime });
  await mailbox.trust([parseTufKey(given.messenger.key)]);
  const verdict = await mailbox.take(message);
  return verdict.verdict === "dropped" ? verdict.why : "accepted";
}

describe("the vectors of spec/message.md", () => {
  for (const { what, result, message } of cases)
    it(`${what}: ${result}`, async () => {
      assert.equal(await judge(fromBase64(message)), result);
    });
});
