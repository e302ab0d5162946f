// Real programs still run after they are signed; what strip, a copy of half or another machine does to them is noticed.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { elfFormat } from "../../src/artifact/elf/format.ts";
import { checkSelf, checkWholeSelf } from "../../src/artifact/elf/self.ts";
import { removeFromElf } from "../../src/artifact/elf/sign.ts";
import { requireElf, type ElfPolicy } from "../../src/artifact/elf/verify.ts";
import { makeSignature } from "../../src/artifact/make-signature.ts";
import { writeRewrite } from "../../src/artifact/rewrite.ts";
import type { SignOptions } from "../../src/artifact/format.ts";
import { replaceFile, withFileSource } from "../../src/io/source/file.ts";
import { publisherPki, type Pki } from "../../src/testing/publisher-pki.ts";

const root = new URL("../..", import.meta.url).pathname;
const linux = process.platform === "linux" ? {} : { skip: "ELF programs run on Linux only" };
const has = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
const require = createRequire(import.meta.url);

let folder: string;
let pki: Pki;
let policy: ElfPolicy;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "upkeep-elf-"));
  const now = Date.now();
  pki = await publisherPki({ now });
  policy = { roots: [pki.root.certificate], now };
});
after(() => rmSync(folder, { recursive: true, force: true }));

async function sign(
  path: string,
  options: Partial<SignOptions> = {},
  mode: "new" | "replace" = "new",
): Promise<void> {
  const { certificate, signer } = pki.leaf;
  await replaceFile(path, path, (source, sink) =>
    elfFormat.sign({
      source,
      sink,
      mode,
      hash: elfFormat.hashFor!(signer.publicKey.scheme),
      options: { identity: { product: "example", version: "2.0.0", release: 20 }, ...options },
      makeSignature: (what) =>
        makeSignature(what, { certificate, chain: [pki.authority.certificate], signer }),
    }),
  );
}

const copy = (from: string, name: string): string => {
  copyFileSync(realpathSync(from), join(folder, name));
  return join(folder, name);
};

const refused = (path: string, code: string, more: Partial<ElfPolicy> = {}): Promise<void> =>
  assert.rejects(
    withFileSource(path, (source) => requireElf(source, { ...policy, ...more })),
    { code },
  );

/** Program, arguments that end at once, what it then says. */
const PROGRAMS: readonly (readonly [what: string, path: string, args: readonly string[], says: RegExp])[] = [
  ["position independent", "/bin/ls", ["--version"], /coreutils/],
  ["static", "/bin/busybox", ["echo", "hello"], /hello/],
  ["Go", join(root, "node_modules/@esbuild/linux-x64/bin/esbuild"), ["--version"], /^0\./],
  ["Node itself", process.execPath, ["-p", "1 + 1"], /^2$/m],
];

describe("programs", linux, () => {
  for (const [what, path, args, says] of PROGRAMS) {
    it(
      `run after signing: ${what}`,
      existsSync(path) ? {} : { skip: `${path} is not installed` },
      async () => {
        const program = copy(path, `${basename(path)}-signed`);
        await sign(program);
        assert.match(execFileSync(program, args, { encoding: "utf8", timeout: 60_000 }), says);
        const report = await withFileSource(program, (source) =>
          requireElf(source, {
            ...policy,
            platform: { os: process.platform, arch: process.arch },
            minimumRelease: 20,
          }),
        );
        assert.equal(report.manifest!.product, "example");
        await replaceFile(program, `${program}.plain`, async (source, sink) =>
          writeRewrite(source, await removeFromElf(source), sink),
        );
        assert.equal(
          spawnSync("cmp", [`${program}.plain`, realpathSync(path)]).status,
          0,
          "the very bytes come back",
        );
        rmSync(program);
        rmSync(`${program}.plain`);
      },
    );
  }

  const library = join(root, "node_modules/@oxfmt/binding-linux-x64-gnu/oxfmt.linux-x64-gnu.node");
  it(
    "load after signing: a shared object in Rust",
    existsSync(library) ? {} : { skip: "this machine is no x64" },
    async () => {
      const signed = copy(library, "library.node");
      await sign(signed);
      assert.equal(typeof require(signed), "object");
    },
  );
});

describe(
  "a single executable",
  { ...linux, ...(has("strip") ? {} : { skip: "strip is not installed" }) },
  () => {
    let program: string;

    before(async () => {
      writeFileSync(
        join(folder, "main.cjs"),
        'console.log("hello from inside", process.argv.slice(2).join(" "));\n',
      );
      writeFileSync(
        join(folder, "sea.json"),
        JSON.stringify({ main: "main.cjs", output: "main.blob", disableExperimentalSEAWarning: true }),
      );
      execFileSync(process.execPath, ["--experimental-sea-config", "sea.json"], {
        cwd: folder,
        stdio: "pipe",
      });
      program = copy(process.execPath, "single");
      // The order that works: strip, inject, sign. Stripping what was injected breaks it.
      execFileSync("strip", [program]);
      const cli = join(root, "node_modules/postject/dist/cli.js");
      const fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";
      const args = [cli, program, "NODE_SEA_BLOB", join(folder, "main.blob"), "--sentinel-fuse", fuse];
      execFileSync(process.execPath, args, { stdio: "pipe", timeout: 240_000 });
      await sign(program, { requireStripped: true });
    });

    it("runs after signing", () => {
      assert.match(
        execFileSync(program, ["a", "b"], { encoding: "utf8", timeout: 60_000 }),
        /hello from inside a b/,
      );
    });

    it("is believed in all of its bytes, and at a start without reading them", async () => {
      await withFileSource(program, async (source) => {
        let read = 0;
        const counted = {
          size: source.size,
          read: (position: number, into: Uint8Array): Promise<void> => {
            read += into.length;
            return source.read(position, into);
          },
        };
        const quick = await checkSelf(counted, policy);
        assert.equal(quick.refusal, null);
        assert.ok(read < 1024 * 1024, `${read} bytes of ${source.size} were read`);
        assert.equal((await checkWholeSelf(source, policy)).refusal, null);
      });
    });

    it("finds out at a start that another file stands in its place, and in all of its bytes that one was changed", async () => {
      const changed = copy(program, "changed");
      const at = 50_000_000;
      await withFileSource(changed, async (source) => {
        const byte = new Uint8Array(1);
        await source.read(at, byte);
        const spoiled = {
          size: source.size,
          read: async (position: number, into: Uint8Array): Promise<void> => {
            await source.read(position, into);
            if (at >= position && at < position + into.length) into[at - position]! ^= 1;
          },
        };
        assert.equal((await checkSelf(spoiled, policy)).refusal, null, "the quick check reads no content");
        assert.equal((await checkWholeSelf(spoiled, policy)).refusal?.code, "artifact/bad-signature");
      });
      await withFileSource("/bin/ls", async (source) => {
        assert.equal((await checkSelf(source, policy)).refusal?.code, "artifact/not-signed");
      });
      await withFileSource(program, async (source) => {
        assert.equal(
          (await checkSelf(source, { ...policy, minimumRelease: 21 })).refusal?.code,
          "artifact/older-release",
        );
        assert.equal(
          (await checkSelf(source, { ...policy, product: "other" })).refusal?.code,
          "artifact/wrong-product",
        );
      });
      rmSync(changed);
    });
  },
);

describe(
  "a signed program",
  { ...linux, ...(has("strip") ? {} : { skip: "strip is not installed" }) },
  () => {
    const source = "/bin/ls";

    it("has lost its signature after strip", async () => {
      const program = copy(source, "stripped");
      await sign(program);
      execFileSync("strip", [program]);
      await refused(program, "artifact/not-signed");
    });

    it("is refused cut off, doubled, continued, on another machine and as an older release", async () => {
      const size = (path: string): Promise<number> => withFileSource(path, async (file) => file.size);
      const program = copy(source, "spoiled");
      await sign(program);
      const whole = await size(program);
      await refused(program, "artifact/foreign-architecture", { platform: { os: "linux", arch: "arm64" } });
      await refused(program, "artifact/older-release", { minimumRelease: 21 });
      const doubled = copy(program, "doubled");
      const trailer = spawnSync("tail", ["-c", String(whole - (await size(source))), program]).stdout;
      appendFileSync(doubled, trailer);
      await refused(doubled, "artifact/doubled-signature");
      const continued = copy(program, "continued");
      appendFileSync(continued, "x");
      await refused(continued, "artifact/trailing-bytes");
      truncateSync(program, whole - 30);
      await refused(program, "artifact/truncated");
      truncateSync(program, 100_000);
      await refused(program, "artifact/truncated");
    });

    it(
      "is refused unsigned with symbols where stripped ones are demanded",
      { skip: has("cc") ? false : "no C compiler is installed" },
      async () => {
        writeFileSync(join(folder, "a.c"), "int main(void) { return 0; }\n");
        const program = join(folder, "with-symbols");
        execFileSync("cc", ["-g", "-o", program, join(folder, "a.c")]);
        await assert.rejects(sign(program, { requireStripped: true }), { code: "artifact/not-stripped" });
        execFileSync("strip", [program]);
        await sign(program, { requireStripped: true });
        assert.equal(spawnSync(program).status, 0);
      },
    );
  },
);
