// A short fuzz run over every parser; `bench/fuzz.ts` runs the same for hours.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { UpkeepError } from "../src/core/errors.ts";
import { generator, mutate } from "./fuzz/mutate.ts";
import { fuzzTargets } from "./fuzz/targets.ts";

const ROUNDS = 300;

describe("damaged input", () => {
  it("is read or refused with a code by every parser, and never believed when it was signed otherwise", async () => {
    for (const target of await fuzzTargets()) {
      // The good input is good, or refused for a reason: it never crashes a parser.
      const random = generator(20261121);
      for (const seed of target.seeds) {
        for (let i = 0; i <= ROUNDS; i++) {
          const bytes = i === 0 ? seed : mutate(seed, random);
          try {
            await target.run(bytes);
          } catch (error) {
            const what = `${target.name}: ${JSON.stringify(Buffer.from(bytes).toString("latin1").slice(0, 2000))}`;
            assert.ok(error instanceof UpkeepError, `${what}\n${String(error)}`);
          }
        }
      }
    }
  });

  it("that once was a finding stays read or refused", async () => {
    const folder = new URL("./vectors/fuzz/", import.meta.url);
    const targets = new Map(
      (await fuzzTargets()).map((target) => [target.name.replaceAll(" ", "-"), target]),
    );
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".bin"))) {
      const target = targets.get(file.split("--")[0]!);
      assert.ok(target !== undefined, `${file} names no parser`);
      try {
        await target.run(new Uint8Array(readFileSync(new URL(file, folder))));
      } catch (error) {
        assert.ok(error instanceof UpkeepError, `${file}: ${String(error)}`);
      }
    }
  });

  it("does not take the fuzzer's word for it: signed input that is good is accepted", async () => {
    for (const target of await fuzzTargets()) {
      if (
        !/signature|metadata|envelope|map file|public key|DER|certificate|ELF|PE layout|^tar$|manifest|token|trust bundle/.test(
          target.name,
        )
      )
        continue;
      for (const seed of target.seeds) await target.run(seed);
    }
  });
});
