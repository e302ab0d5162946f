// Random histories: an honest repository, a network that mixes old, new and damaged files, and what must hold after every check.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import { HOUR, parseInstant } from "../../core/instant.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { memorySource } from "../../testing/memory-source.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { mirrorAt, openRepository } from "../client/client.ts";
import { memoryStore } from "../client/store.ts";

const START = parseInstant("2026-11-21T04:00:00Z");

/** One step: what the publisher does, then what the network serves. Numbers choose files and editions. */
type Step = {
  readonly publish: "target" | "product" | "rotate" | "nothing";
  readonly serve: "honest" | "old" | "mixed" | "damaged" | "partial";
  readonly choice: number;
};

const step: fc.Arbitrary<Step> = fc.record({
  publish: fc.constantFrom("target", "target", "product", "rotate", "nothing"),
  serve: fc.constantFrom("honest", "old", "mixed", "damaged", "partial"),
  choice: fc.nat(1_000_000),
});

/** What the network serves, made from every edition there ever was. */
function served(
  editions: readonly ReadonlyMap<string, Uint8Array>[],
  { serve, choice }: Step,
): Map<string, Uint8Array> {
  const newest = editions.at(-1)!;
  const pick = (i: number): ReadonlyMap<string, Uint8Array> =>
    editions[(choice + i * 7919) % editions.length]!;
  switch (serve) {
    case "honest":
      return new Map(newest);
    case "old":
      return new Map(pick(0));
    case "mixed":
      return new Map([...newest].map(([path, bytes], i) => [path, pick(i).get(path) ?? bytes]));
    case "damaged":
      return new Map(
        [...newest].map(([path, bytes], i) => {
          if ((choice + i) % 3 !== 0) return [path, bytes];
          const damaged = bytes.slice();
          damaged[(choice * 31 + i) % bytes.length]! ^= 1 << (choice % 8);
          return [path, damaged];
        }),
      );
    case "partial":
      return new Map([...newest].filter((_, i) => (choice + i) % 4 !== 0));
  }
}

describe("whatever the network serves", () => {
  it("a client never goes back, never believes what was not published, and is well again with honest files", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 2, maxLength: 12 }),
        fc.boolean(),
        async (steps, consistent) => {
          const repo = await RepositorySimulator.create({ now: START, consistent });
          repo.delegate("targets", "product", { paths: ["p/*"] });
          repo.addTarget("file", toUtf8("0"));
          repo.addTarget("p/file", toUtf8("0"), "product");
          await repo.publish();
          const editions = [new Map(repo.source.files)];
          const network = memorySource();
          const clock = new ScriptedClock(START);
          const store = memoryStore();
          const rootBytes = repo.rootBytes(1);
          const open = () =>
            openRepository({
              mirrors: [mirrorAt(network)],
              store,
              clock,
              random: { bytes: (length) => new Uint8Array(length) },
              retry: NO_RETRY,
              trustedRoot: rootBytes,
            });
          let client = open();
          const seen = { root: 0, timestamp: 0, snapshot: 0, file: 0, product: 0 };
          let number = 0;

          const look = async (): Promise<void> => {
            const { root, timestamp, snapshot } = await client.refresh();
            assert.ok(
              root >= seen.root && timestamp >= seen.timestamp && snapshot >= seen.snapshot,
              "versions went back",
            );
            Object.assign(seen, { root, timestamp, snapshot });
            for (const [name, key] of [
              ["file", "file"],
              ["p/file", "product"],
            ] as const) {
              const content = Number(fromUtf8(await client.readTarget(name, 100)));
              assert.ok(
                Number.isSafeInteger(content) && content <= number,
                "something that was never published",
              );
              assert.ok(content >= seen[key], "a target went back");
              seen[key] = content;
            }
          };

          for (const one of steps) {
            number++;
            if (one.publish === "target") repo.addTarget("file", toUtf8(String(number)));
            if (one.publish === "product") repo.addTarget("p/file", toUtf8(String(number)), "product");
            if (one.publish === "rotate") repo.rotate(one.choice % 2 === 0 ? "timestamp" : "snapshot");
            await repo.publish();
            editions.push(new Map(repo.source.files));
            network.files.clear();
            for (const [path, bytes] of served(editions, one)) network.files.set(path, bytes);
            // Half of the time the process is a new one.
            if (one.choice % 2 === 0) client = open();
            try {
              await look();
            } catch (error) {
              if (!(error instanceof UpkeepError)) throw error;
            }
          }

          network.files.clear();
          for (const [path, bytes] of repo.source.files) network.files.set(path, bytes);
          await clock.advance(HOUR);
          client = open();
          await look();
          assert.equal(seen.timestamp, repo.timestamp.version);
        },
      ),
      { numRuns: 30 },
    );
  });
});
