// Tests of files as sources and sinks: what is opened, what is replaced, and what stays when something fails.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmod, lstat, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { readRange } from "../../artifact/source.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { openSource, replaceFile, withFileSource } from "./file.ts";

describe(
  "a file as a source of bytes",
  { skip: process.platform === "win32" ? "links and pipes" : false },
  () => {
    let folder: string;
    const at = (name: string): string => join(folder, name);
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), "upkeep-source-"));
    });
    after(() => rm(folder, { recursive: true, force: true }));
    const newVersion = (path: string, output = path): Promise<void> =>
      replaceFile(path, output, async (source, sink, written) => {
        await sink.write(0, toUtf8("new "));
        await sink.write(4, await readRange(source, 0, source.size, "all"));
        assert.equal((await written()).size, source.size + 4);
      });

    it("is read at positions, and refused when it is missing, a folder or a pipe", async () => {
      await writeFile(at("file"), "0123456789");
      assert.equal(fromUtf8(await withFileSource(at("file"), (s) => readRange(s, 3, 4, "x"))), "3456");
      assert.equal(spawnSync("mkfifo", [at("pipe")]).status, 0);
      const nothing = async (): Promise<void> => {};
      await assert.rejects(withFileSource(at("missing"), nothing), { code: "artifact/unreadable" });
      await assert.rejects(withFileSource(folder, nothing), { code: "artifact/malformed" });
      await assert.rejects(withFileSource(at("pipe"), nothing), { code: "artifact/malformed" });
      await assert.rejects(openSource(at("pipe")), { code: "artifact/malformed" });
    });

    it("gets a new version with the permissions of the old one", async () => {
      await writeFile(at("program"), "version");
      await chmod(at("program"), 0o751);
      await newVersion(at("program"));
      assert.equal(await readFile(at("program"), "utf8"), "new version");
      assert.equal((await stat(at("program"))).mode & 0o777, 0o751);
    });

    it("gets a new version however long its name is, up to what the file system takes", async () => {
      for (const length of [244, 255]) {
        const name = "n".repeat(length);
        await writeFile(at(name), "version");
        await newVersion(at(name));
        assert.equal(await readFile(at(name), "utf8"), "new version");
      }
    });

    it("gets a new version through a link, which stays a link", async () => {
      await writeFile(at("real"), "version");
      await symlink("real", at("link"));
      await newVersion(at("link"));
      assert.ok((await lstat(at("link"))).isSymbolicLink());
      assert.equal(await readFile(at("real"), "utf8"), "new version");
    });

    it("stays as it was when the new version fails, or when somebody writes to it meanwhile", async () => {
      await writeFile(at("kept"), "version");
      const fails = async (): Promise<void> => Promise.reject(new Error("no"));
      await assert.rejects(replaceFile(at("kept"), at("kept"), fails), { message: "no" });
      const meddles = (): Promise<void> => writeFile(at("kept"), "version of the linker");
      await assert.rejects(replaceFile(at("kept"), at("kept"), meddles), { code: "artifact/changed" });
      assert.equal(await readFile(at("kept"), "utf8"), "version of the linker");
      assert.deepEqual(
        (await readdir(folder)).filter((name) => name.includes("upkeep-part")),
        [],
      );
    });
  },
);
