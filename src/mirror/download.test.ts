// Streaming downloads: resumed across processes, from several places, and never in place before they are right.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { digestsOf } from "../core/digest.ts";
import { DiskError, type Disk } from "../core/disk.ts";
import { systemDisk } from "../io/system/disk.ts";
import { memorySource } from "../testing/memory-source.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import { downloadFile, type Download, type Progress } from "./download.ts";
import { NO_RETRY } from "./fetch.ts";
import { sourceError, type Source } from "./source.ts";

const content = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31) % 253);
const digests = Object.entries(digestsOf(content)) as [["sha256", string], ["sha512", string]];
const good = (name = "good", chunk = 10_000): ReturnType<typeof memorySource> =>
  memorySource([["file", content]], { name, chunk });

/** Passes `bytes` bytes of each answer on, then fails like a cut connection. */
function cutting(inner: Source, bytes: number): Source {
  return {
    name: `${inner.name}, cut`,
    open: async (path, options) => {
      const opened = await inner.open(path, options);
      const body = async function* (): AsyncGenerator<Uint8Array> {
        let left = bytes;
        for await (const part of opened.body) {
          yield part.subarray(0, left);
          left -= part.length;
          if (left <= 0) throw sourceError("mirror/unreachable", inner, path, "it was cut");
        }
      };
      return { ...opened, body: body() };
    },
  };
}

async function within(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "upkeep-download-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function download(folder: string, sources: readonly Source[], more: Partial<Download> = {}): Promise<void> {
  return downloadFile({
    sources,
    from: "file",
    to: join(folder, "goal"),
    length: content.length,
    digests,
    disk: systemDisk,
    tools: {
      clock: new ScriptedClock(),
      random: { bytes: (length) => new Uint8Array(length) },
      retry: NO_RETRY,
    },
    ...more,
  });
}

describe("a download", () => {
  it("is in place with the right bytes, and leaves nothing beside it", () =>
    within(async (folder) => {
      const seen: Progress[] = [];
      await download(folder, [good()], { onProgress: (progress) => seen.push(progress) });
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "goal"))), content);
      assert.deepEqual(readdirSync(folder), ["goal"]);
      assert.equal(seen.length, 30);
      assert.deepEqual(seen.at(-1), { received: 300_000, length: 300_000, source: "good" });
    }));

  it("goes on where an earlier process stopped", () =>
    within(async (folder) => {
      writeFileSync(join(folder, "goal.part"), content.subarray(0, 123_456));
      const source = good();
      await download(folder, [source]);
      assert.deepEqual(source.requests, ["file@123456"]);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "goal"))), content);
    }));

  it("asks nobody when all of it is there", () =>
    within(async (folder) => {
      writeFileSync(join(folder, "goal.part"), content);
      const source = good();
      await download(folder, [source]);
      assert.deepEqual(source.requests, []);
      await assert.rejects(download(folder, []), { code: "mirror/unreachable" });
    }));

  it("starts once more from the beginning when what was there is wrong", () =>
    within(async (folder) => {
      writeFileSync(join(folder, "goal.part"), new Uint8Array(50_000));
      const source = good();
      await download(folder, [source]);
      assert.deepEqual(source.requests, ["file@50000", "file"]);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "goal"))), content);
    }));

  it("throws away a part that is longer than the file", () =>
    within(async (folder) => {
      writeFileSync(join(folder, "goal.part"), new Uint8Array(400_000));
      await download(folder, [good()]);
      assert.equal(statSync(join(folder, "goal")).size, 300_000);
    }));

  it("goes on at the same source after every cut that brought it further", () =>
    within(async (folder) => {
      const source = good();
      await download(folder, [cutting(source, 70_000)]);
      assert.deepEqual(source.requests, ["file", "file@70000", "file@140000", "file@210000", "file@280000"]);
    }));

  it("goes on at the next source where the first one stopped answering", () =>
    within(async (folder) => {
      const [first, second] = [good("first"), good("second")];
      const dying: Source = {
        name: "dying",
        open: async (path, options) => {
          if ((options.offset ?? 0) > 0) throw sourceError("mirror/unreachable", first, path, "it died");
          return cutting(first, 100_000).open(path, options);
        },
      };
      await download(folder, [dying, second]);
      assert.deepEqual(second.requests, ["file@100000"]);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "goal"))), content);
    }));

  it("from a source that cannot start in the middle begins anew", () =>
    within(async (folder) => {
      writeFileSync(join(folder, "goal.part"), content.subarray(0, 1000));
      await download(folder, [memorySource([["file", content]], { ranges: false })]);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "goal"))), content);
    }));

  it("takes right bytes from the next source when one sends wrong ones (malicious mirror)", () =>
    within(async (folder) => {
      const wrong = content.slice();
      wrong[200_000]! ^= 1;
      const bad = memorySource([["file", wrong]], { name: "bad" });
      await download(folder, [bad, good()]);
      assert.deepEqual(bad.requests, ["file"]);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "goal"))), content);
    }));

  it("is refused, and leaves nothing, when only wrong bytes can be had", () =>
    within(async (folder) => {
      const wrong = content.slice();
      wrong[0]! ^= 1;
      await assert.rejects(download(folder, [memorySource([["file", wrong]])]), {
        code: "mirror/wrong-content",
      });
      assert.deepEqual(readdirSync(folder), []);
    }));

  it("refuses a file of another length before taking a byte of it", () =>
    within(async (folder) => {
      const long = memorySource([["file", new Uint8Array(300_001)]]);
      await assert.rejects(download(folder, [long]), { code: "mirror/too-long" });
      const short = memorySource([["file", new Uint8Array(299_999)]]);
      await assert.rejects(download(folder, [short]), { code: "mirror/wrong-content" });
      assert.deepEqual(readdirSync(folder), []);
    }));

  it("keeps what it has when everybody fails, for the next attempt", () =>
    within(async (folder) => {
      const once: Source = {
        name: "once",
        open: async (path, options) => {
          if ((options.offset ?? 0) > 0) throw sourceError("mirror/unreachable", once, path, "it is gone");
          return cutting(good(), 100_000).open(path, options);
        },
      };
      await assert.rejects(download(folder, [once]), { code: "mirror/unreachable" });
      assert.equal(statSync(join(folder, "goal.part")).size, 100_000);
      assert.equal(existsSync(join(folder, "goal")), false);
    }));

  it("does not let a source evade the speed floor by being slow, or cut, again and again (slow retrieval attack)", () =>
    within(async (folder) => {
      for (const code of ["mirror/slow", "mirror/unreachable"] as const) {
        let asked = 0;
        const dripping: Source = {
          name: "dripping",
          open: async (path, { offset = 0 }) => {
            asked++;
            const body = async function* (): AsyncGenerator<Uint8Array> {
              yield content.subarray(offset, offset + (code === "mirror/slow" ? 40_000 : 1000));
              throw sourceError(code, dripping, path, "it drips");
            };
            return { offset, length: content.length, body: body() };
          },
        };
        await download(folder, [dripping, good()]);
        assert.equal(asked, 1);
        rmSync(join(folder, "goal"));
      }
    }));

  it("stops when the caller gives up, and can be resumed", () =>
    within(async (folder) => {
      const stop = new AbortController();
      const onProgress = ({ received }: Progress): void => {
        if (received >= 50_000) stop.abort();
      };
      await assert.rejects(download(folder, [good()], { signal: stop.signal, onProgress }));
      assert.ok(statSync(join(folder, "goal.part")).size >= 50_000);
      const source = good();
      await download(folder, [source]);
      assert.match(source.requests[0]!, /^file@\d+$/);
    }));

  it("says that the disk is full before it takes the first byte, and keeps what was there", () =>
    within(async (folder) => {
      writeFileSync(join(folder, "goal.part"), content.subarray(0, 1000));
      const source = good();
      const full: Disk = { ...systemDisk, free: async () => 1000 };
      await assert.rejects(download(folder, [source], { disk: full }), { code: "disk/full" });
      assert.deepEqual(source.requests, []);
      assert.equal(statSync(join(folder, "goal.part")).size, 1000);
    }));

  it("that hits a full disk half way fails with that, and nothing is in place", () =>
    within(async (folder) => {
      const filling: Disk = {
        ...systemDisk,
        open: async (path, how, mode) => {
          const file = await systemDisk.open(path, how, mode);
          return {
            ...file,
            write: async (position, bytes) => {
              if (position > 100_000) throw new DiskError("disk/full", "The disk is full.");
              return file.write(position, bytes);
            },
          };
        },
      };
      await assert.rejects(download(folder, [good()], { disk: filling }), { code: "disk/full" });
      assert.equal(existsSync(join(folder, "goal")), false);
    }));
});
