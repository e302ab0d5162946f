// Handlers as real programs: one request, one answer, a time limit, and nothing left behind; the two examples do what they say, also after a kill.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  readAnswer,
  writeRequest,
  type HandlerRequest,
  type HandlerStep,
} from "../../process/handler-protocol.ts";
import type { HandlerAnswer } from "../../process/ports.ts";
import { systemHandlers } from "./handlers.ts";

const examples = new URL("../../../examples/handlers/", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "upkeep-handlers-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const REQUEST: HandlerRequest = {
  step: "install",
  attempt: "a".repeat(32),
  product: "base",
  from: null,
  to: { version: "1.0.0", slot: folder, file: join(folder, "file") },
  settings: {},
  state: folder,
};
const PATH = "/usr/bin:/bin";

async function run(
  program: string,
  args: readonly string[],
  request: HandlerRequest = REQUEST,
  timeoutMs = 20_000,
  path = PATH,
): Promise<HandlerAnswer> {
  const token = "b".repeat(32);
  const env = { PATH: path, UPKEEP_INSTANCE: token };
  const spec = { program, args, cwd: folder, env, log: join(folder, "log"), token };
  return systemHandlers.run(spec, writeRequest(request), timeoutMs);
}

/** The code that the agent acts on; null if the step is done. */
const verdict = (answer: HandlerAnswer): string | null => {
  try {
    readAnswer("test", "install", answer);
    return null;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe("a handler", () => {
  const shell = (script: string, timeoutMs?: number): Promise<HandlerAnswer> =>
    run("/bin/sh", ["-c", script], REQUEST, timeoutMs);

  it("is given its request and says what came of it; its errors are in the log", async () => {
    const answer = await shell(`cat > seen; echo trace >&2; echo '{"format":1,"later":"member"}'`);
    assert.equal(verdict(answer), null);
    assert.deepEqual(JSON.parse(readFileSync(join(folder, "seen"), "utf8")), { format: 1, ...REQUEST });
    assert.match(readFileSync(join(folder, "log"), "utf8"), /trace/);
  });

  /** What it does, and what that means. */
  const ENDS: readonly (readonly [string, string, string | null])[] = [
    ["fails with a reason", `echo '{"format":1,"reason":"no"}'; exit 1`, "process/handler-failed"],
    ["fails without a word", "exit 3", "process/handler-failed"],
    ["asks to be asked later", "exit 75", "process/handler-waits"],
    ["ends well without an answer, as any program does", "true", "process/handler-failed"],
    ["ends well with half an answer", `printf '{"format":1'`, "process/handler-failed"],
    ["ends well with two answers", `echo '{"format":1}{"format":1}'`, "process/handler-failed"],
    ["speaks a later format", `echo '{"format":2}'`, "process/handler-failed"],
    ["is ended by a signal", "kill -9 $$", "process/handler-failed"],
    ["writes without end", "head -c 200000 /dev/zero", "process/handler-failed"],
    ["does not read its request", `exec <&-; echo '{"format":1}'`, null],
  ];
  for (const [what, script, code] of ENDS)
    it(`that ${what} is ${code ?? "done"}`, async () => {
      assert.equal(verdict(await shell(script)), code);
    });

  it("says why in one line, without control characters", async () => {
    const answer = await shell(`printf '{"format":1,"reason":"first\\\\nsecond\\\\u001b[31m"}'; exit 1`);
    assert.throws(() => readAnswer("deb", "verify", answer), {
      message: 'The handler deb did not carry out "verify": it ended with exit code 1: first second [31m.',
    });
  });

  it("that hangs is ended in time, with all that it started", async () => {
    const answer = await shell("sleep 60 & echo $! > child; sleep 60", 400);
    assert.equal(verdict(answer), "process/handler-failed");
    const child = Number(readFileSync(join(folder, "child"), "utf8"));
    for (let tries = 0; tries < 100 && existsSync(`/proc/${child}/exe`); tries++) await delay(20);
    assert.equal(existsSync(`/proc/${child}/exe`), false);
  });

  it("that leaves something behind with its output open does not keep the agent waiting", async () => {
    const before = performance.now();
    const answer = await shell(`setsid sleep 60 & echo $! > child; echo '{"format":1}'`);
    assert.equal(verdict(answer), null);
    assert.ok(performance.now() - before < 10_000);
    const child = Number(readFileSync(join(folder, "child"), "utf8"));
    for (let tries = 0; tries < 100 && existsSync(`/proc/${child}/exe`); tries++) await delay(20);
    assert.equal(existsSync(`/proc/${child}/exe`), false);
  });

  it("that is not there could not be started", async () => {
    assert.equal(verdict(await run(join(folder, "none"), [])), "process/cannot-start");
  });
});

describe("the example for Debian packages", () => {
  const missing = ["dpkg", "dpkg-deb"].filter((name) => !existsSync(`/usr/bin/${name}`));
  const skip = missing.length > 0 ? `needs ${missing.join(", ")}` : false;

  function deb(version: string, name = "shop-base"): string {
    const tree = join(folder, `${name}-${version}`);
    mkdirSync(join(tree, "DEBIAN"), { recursive: true });
    mkdirSync(join(tree, "opt/shop"), { recursive: true });
    writeFileSync(join(tree, "opt/shop/version"), version);
    writeFileSync(
      join(tree, "DEBIAN/control"),
      `Package: ${name}\nVersion: ${version}\nArchitecture: all\nMaintainer: Shop <shop@example.org>\nDescription: test\n`,
    );
    const out = join(folder, `${name}_${version}.deb`);
    const made = spawnSync("dpkg-deb", ["--root-owner-group", "--build", tree, out], { encoding: "utf8" });
    assert.equal(made.status, 0, made.stderr);
    return out;
  }
  function machine(name: string): string {
    const root = join(folder, name);
    mkdirSync(join(root, "var/lib/dpkg/updates"), { recursive: true });
    mkdirSync(join(root, "var/lib/dpkg/info"), { recursive: true });
    writeFileSync(join(root, "var/lib/dpkg/status"), "");
    return root;
  }
  const versions = (root: string): string | null =>
    existsSync(join(root, "opt/shop/version")) ? readFileSync(join(root, "opt/shop/version"), "utf8") : null;
  const version = (number: string, file: string) => ({ version: number, slot: folder, file });
  const ask = (root: string, step: HandlerStep, parts: Partial<HandlerRequest>, path = PATH) =>
    run(
      join(examples, "debian-package"),
      ["--root", root, "--package", "shop-base"],
      { ...REQUEST, ...parts, step },
      60_000,
      path,
    );

  it("installs, verifies, updates, goes back and removes, each step twice over", { skip }, async () => {
    const root = machine("whole");
    const [one, two] = [version("1.0.0", deb("1.0.0")), version("2.0.0", deb("2.0.0"))];
    const steps: readonly (readonly [HandlerStep, Partial<HandlerRequest>, string | null])[] = [
      ["prepare", { to: one }, null],
      ["install", { to: one }, "1.0.0"],
      ["verify", { to: one }, "1.0.0"],
      ["commit", { to: one }, "1.0.0"],
      ["install", { from: one, to: two }, "2.0.0"],
      ["verify", { from: one, to: two }, "2.0.0"],
      ["rollback", { from: one, to: two }, "1.0.0"],
      ["cleanup", { from: one, to: two }, "1.0.0"],
      ["remove", { from: one, to: null }, null],
    ];
    for (const [step, parts, expected] of steps)
      for (let time = 0; time < 2; time++) {
        const answer = await ask(root, step, parts);
        assert.equal(verdict(answer), null, `${step}: ${JSON.stringify(answer)}`);
        assert.equal(versions(root), expected, step);
      }
  });

  it("refuses what is no package, and a package that the owner did not allow", { skip }, async () => {
    const root = machine("refused");
    writeFileSync(join(folder, "none.deb"), "no package");
    const answer = await ask(root, "prepare", { to: version("1.0.0", join(folder, "none.deb")) });
    assert.equal(verdict(answer), "process/handler-failed");
    const other = await ask(root, "install", { to: version("1.0.0", deb("1.0.0", "openssh-server")) });
    assert.throws(() => readAnswer("deb", "install", other), /openssh-server is not among those/);
    assert.equal(versions(root), null);
  });

  it("notices a file that is not as the package has it", { skip }, async () => {
    const root = machine("changed");
    const one = version("1.0.0", deb("1.0.0"));
    await ask(root, "install", { to: one });
    writeFileSync(join(root, "opt/shop/version"), "other");
    assert.equal(verdict(await ask(root, "verify", { to: one })), "process/handler-failed");
  });

  for (const when of ["before", "after"])
    it(`heals when it is killed ${when} dpkg did its work`, { skip }, async () => {
      const root = machine(`killed-${when}`);
      const shim = join(folder, `shim-${when}`);
      mkdirSync(shim);
      const kill = 'test -e "$0.kill" && case "$*" in *--install*) kill -9 $PPID; exit 1;; esac';
      writeFileSync(
        join(shim, "dpkg"),
        when === "before"
          ? `#!/bin/sh\n${kill}\nexec /usr/bin/dpkg "$@"\n`
          : `#!/bin/sh\n/usr/bin/dpkg "$@"\ncode=$?\n${kill}\nexit $code\n`,
      );
      chmodSync(join(shim, "dpkg"), 0o755);
      const [one, two] = [version("1.0.0", deb("1.0.0")), version("2.0.0", deb("2.0.0"))];
      await ask(root, "install", { to: one });
      for (const [step, parts, expected] of [
        ["install", { from: one, to: two }, "2.0.0"],
        ["rollback", { from: one, to: two }, "1.0.0"],
      ] as const) {
        writeFileSync(join(shim, "dpkg.kill"), "");
        const answer = await ask(root, step, parts, `${shim}:${PATH}`);
        assert.ok(answer.kind === "exit" && answer.exit.signal === "SIGKILL", JSON.stringify(answer));
        rmSync(join(shim, "dpkg.kill"));
        assert.equal(verdict(await ask(root, step, parts, `${shim}:${PATH}`)), null);
        assert.equal(versions(root), expected);
      }
    });
});

describe("the example for raw images", () => {
  const SIZE = 300_000;
  type Machine = {
    readonly place: string;
    readonly flag: () => string;
    readonly holds: (name: string) => string;
  };
  function machine(name: string): Machine {
    const place = join(folder, name);
    mkdirSync(join(place, "state"), { recursive: true });
    for (const partition of ["a", "b"]) {
      writeFileSync(join(place, partition), "");
      truncateSync(join(place, partition), SIZE);
    }
    writeFileSync(join(place, "flag"), "a\n");
    return {
      place,
      flag: () => readFileSync(join(place, "flag"), "utf8").trim(),
      holds: (partition) =>
        readFileSync(join(place, partition)).subarray(0, 9).toString("latin1").replaceAll("\0", ""),
    };
  }
  const image = (number: string, size = SIZE) => {
    const file = join(folder, `image-${number}-${size}`);
    writeFileSync(file, `image ${number}`.padEnd(size, "."));
    return { version: `${number}.0.0`, slot: folder, file };
  };
  const ask = (
    { place }: Machine,
    step: HandlerStep,
    attempt: string,
    parts: Partial<HandlerRequest>,
    limit = 20_000,
  ) =>
    run(
      join(examples, "raw-image"),
      ["--a", join(place, "a"), "--b", join(place, "b"), "--flag", join(place, "flag")],
      { ...REQUEST, ...parts, step, attempt: attempt.repeat(32), state: join(place, "state") },
      limit,
    );

  it("writes the partition that is not running, tries it, and moves the flag at the commit", async () => {
    const made = machine("whole-image");
    const [one, two] = [image("1"), image("2")];
    const seen: string[] = [];
    for (const step of ["prepare", "install", "install", "verify", "commit", "commit", "cleanup"] as const) {
      assert.equal(verdict(await ask(made, step, "a", { to: one })), null, step);
      seen.push(made.flag());
    }
    assert.deepEqual(seen, ["a", "a try=b", "a try=b", "a try=b", "b", "b", "b"]);
    assert.equal(made.holds("b"), "image 1..");
    for (const step of ["prepare", "install", "verify", "commit", "rollback", "rollback", "cleanup"] as const)
      assert.equal(verdict(await ask(made, step, "c", { from: one, to: two })), null, step);
    assert.equal(made.flag(), "b", "also after the commit");
    assert.equal(made.holds("b"), "image 1..", "what runs was never written to");
  });

  it("refuses an image that is larger than the partition, before anything is written", async () => {
    const made = machine("large-image");
    const answer = await ask(made, "prepare", "a", { to: image("3", SIZE + 1) });
    assert.equal(verdict(answer), "process/handler-failed");
    assert.deepEqual([made.flag(), made.holds("b")], ["a", ""]);
  });

  it("notices a partition that does not hold what was written", async () => {
    const made = machine("bad-partition");
    const one = image("1");
    await ask(made, "install", "a", { to: one });
    writeFileSync(join(made.place, "b"), "x", { flag: "r+" });
    assert.equal(verdict(await ask(made, "verify", "a", { to: one })), "process/handler-failed");
  });

  it("waits for a machine whose flag or partition cannot be used", async () => {
    const made = machine("no-flag");
    writeFileSync(join(made.place, "flag"), "c\n");
    assert.equal(verdict(await ask(made, "prepare", "a", { to: image("1") })), "process/handler-waits");
    const other = machine("no-partition");
    rmSync(join(other.place, "b"));
    symlinkSync(join(other.place, "nowhere"), join(other.place, "b"));
    assert.equal(verdict(await ask(other, "prepare", "a", { to: image("1") })), "process/handler-waits");
  });

  it("heals when it is killed at any moment of a step", async () => {
    const made = machine("killed-image");
    let attempt = 0;
    for (const wait of [30, 60]) {
      const id = "0123456789abcdef"[attempt++]!;
      const before = made.flag();
      const other = before === "a" ? "b" : "a";
      const to = image(String(attempt));
      for (const step of ["prepare", "install", "verify", "commit", "cleanup"] as const) {
        await ask(made, step, id, { to }, wait);
        assert.match(
          made.flag(),
          new RegExp(`^(${before}|${before} try=${other}|${other})$`),
          "never half a flag",
        );
        assert.equal(verdict(await ask(made, step, id, { to })), null, step);
      }
      assert.equal(made.flag(), other);
      assert.equal(made.holds(other), `image ${attempt}..`);
    }
  });
});
