// What every Source must do, as tests: run it over memory, disk, HTTP and whatever comes next.

import assert from "node:assert/strict";
import { it } from "node:test";
import { collect } from "../core/bytes.ts";
import { MirrorError } from "../mirror/errors.ts";
import { readAll, type Source } from "../mirror/source.ts";

export type SourceUnderTest = {
  readonly source: Source;
  readonly close: () => Promise<void>;
  /** False if the source always begins at 0. */
  readonly ranges?: boolean;
};

/** `make` gives a source with exactly these files; paths are percent-encoded. Call inside a `describe`. */
export function testSource(make: (files: ReadonlyMap<string, Uint8Array>) => Promise<SourceUnderTest>): void {
  const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7) % 251);
  const files = new Map([
    ["a.json", bytes.subarray(0, 10)],
    ["folder/big.bin", bytes],
    ["folder/with%20space%2B.txt", bytes.subarray(0, 3)],
    ["empty", new Uint8Array(0)],
  ]);
  const using = async (use: (source: Source, test: SourceUnderTest) => Promise<void>): Promise<void> => {
    const test = await make(files);
    try {
      await use(test.source, test);
    } finally {
      await test.close();
    }
  };
  const refused = async (source: Source, path: string, code: string, limit = 1_000_000): Promise<void> => {
    await assert.rejects(readAll(source, path, limit), (error) => {
      assert.ok(error instanceof MirrorError, String(error));
      assert.equal(error.code, code);
      return true;
    });
  };

  it("gives each file whole", () =>
    using(async (source) => {
      for (const [path, expected] of files)
        assert.deepEqual(await readAll(source, path, 1_000_000), expected);
    }));

  it("gives the rest of a file from a position, or says that it begins at 0", () =>
    using(async (source, { ranges = true }) => {
      const opened = await source.open("folder/big.bin", { offset: 150_000, limit: 1_000_000 });
      assert.equal(opened.offset, ranges ? 150_000 : 0);
      assert.deepEqual(await collect(opened.body, 1_000_000), bytes.slice(opened.offset));
    }));

  it("says the length of the whole file, if it says one", () =>
    using(async (source) => {
      for (const offset of [0, 1000]) {
        const opened = await source.open("folder/big.bin", { offset, limit: 1_000_000 });
        assert.ok(opened.length === null || opened.length === bytes.length);
        await collect(opened.body, 1_000_000);
      }
    }));

  it("says not-found for what is not there", () =>
    using(async (source) => {
      await refused(source, "missing.json", "mirror/not-found");
      await refused(source, "folder", "mirror/not-found");
    }));

  it("refuses a file one byte over the limit, and gives one exactly at it", () =>
    using(async (source) => {
      await refused(source, "folder/big.bin", "mirror/too-long", bytes.length - 1);
      assert.equal((await readAll(source, "folder/big.bin", bytes.length)).length, bytes.length);
    }));

  for (const path of [
    "../a.json",
    "folder/../a.json",
    "",
    "/a.json",
    "a.json/",
    "a//b",
    "%2e%2e/a.json",
    "a b",
    "a\\b",
    "%zz",
  ]) {
    it(`refuses the path ${JSON.stringify(path)}`, () =>
      using((source) => refused(source, path, "mirror/bad-path")));
  }

  it("does not let an encoded slash leave its place", () =>
    using(async (source) => {
      await assert.rejects(readAll(source, "folder%2F..%2Fa.json", 1000), (error) => {
        assert.ok(error instanceof MirrorError);
        assert.ok(error.code === "mirror/bad-path" || error.code === "mirror/not-found", error.code);
        return true;
      });
    }));

  it("lets go when the reader leaves early, and answers again", () =>
    using(async (source) => {
      for (let i = 0; i < 3; i++) {
        const { body } = await source.open("folder/big.bin", { limit: 1_000_000 });
        for await (const part of body) {
          assert.ok(part.length > 0);
          break;
        }
      }
      assert.equal((await readAll(source, "a.json", 100)).length, 10);
    }));

  it("stops with aborted when the caller gives up", () =>
    using(async (source) => {
      const stop = new AbortController();
      const { body } = await source.open("folder/big.bin", { limit: 1_000_000, signal: stop.signal });
      await assert.rejects(
        async () => {
          for await (const _ of body) stop.abort();
          // A file that came in one part leaves nothing to abort.
          throw new MirrorError("mirror/aborted", "It came in one part.");
        },
        { code: "mirror/aborted" },
      );
    }));
}
