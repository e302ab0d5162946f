// The systemd units as systemd sees them: checked by its own tools, and run by a systemd of their own.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
  copyFileSync,
  readdirSync,
  rmdirSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemdUnit, sysusersLine, windowsTask } from "../../src/apps/signer/units.ts";

const root = realpathSync(new URL("../..", import.meta.url).pathname);
const has = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
const needs = (...commands: string[]): { skip?: string } => {
  const missing = commands.filter((command) => !has(command));
  return missing.length === 0 ? {} : { skip: `not installed: ${missing.join(", ")}` };
};
const PROGRAMS = ["signer", "gateway"] as const;
/** Of 10; below 2 systemd calls the exposure "OK". What is left is named in docs/operate/signing-service.md. */
const WORST = { signer: 1.4, gateway: 1.1 };
const PROBE =
  "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir u w r && mount -t overlay overlay -o lowerdir=/,upperdir=u,workdir=w r && mount -t proc proc r/proc && mount -t sysfs sysfs r/sys && mount -t cgroup2 cgroup2 r/sys/fs/cgroup";
let folder: string;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "upkeep-units-"));
  for (const program of PROGRAMS) {
    const unit = systemdUnit(program, { path: "/bin/true" });
    writeFileSync(join(folder, `upkeep-${program}.service`), unit);
    writeFileSync(join(folder, `upkeep-${program}.conf`), sysusersLine(program));
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

describe("the systemd units", () => {
  for (const program of PROGRAMS) {
    it(`of the ${program} hold before systemd-analyze verify`, needs("systemd-analyze"), () => {
      const ran = spawnSync("systemd-analyze", ["verify", join(folder, `upkeep-${program}.service`)], {
        encoding: "utf8",
        timeout: 20_000,
      });
      assert.deepEqual([ran.status, ran.stderr.trim(), ran.stdout.trim()], [0, "", ""]);
    });

    it(`of the ${program} leave little exposed in systemd-analyze security`, needs("systemd-analyze"), () => {
      const ran = spawnSync(
        "systemd-analyze",
        [
          "security",
          "--no-pager",
          "--offline=yes",
          `--threshold=${WORST[program] * 10}`,
          join(folder, `upkeep-${program}.service`),
        ],
        { encoding: "utf8", timeout: 20_000 },
      );
      assert.equal(
        ran.status,
        0,
        ran.stdout
          .split("\n")
          .filter((line) => /^✗|→/.test(line))
          .join("\n"),
      );
    });
  }

  it("make their users without password and shell", needs("systemd-sysusers"), () => {
    const ran = spawnSync(
      "systemd-sysusers",
      ["--dry-run", ...PROGRAMS.map((program) => join(folder, `upkeep-${program}.conf`))],
      { encoding: "utf8", timeout: 20_000 },
    );
    assert.equal(ran.status, 0, ran.stderr);
    for (const program of PROGRAMS) assert.match(ran.stdout + ran.stderr, new RegExp(`upkeep-${program}`));
  });

  it("have a Windows task that is well-formed XML", needs("python3"), () => {
    for (const program of PROGRAMS) {
      const ran = spawnSync(
        "python3",
        ["-c", "import sys, xml.dom.minidom as m; m.parse(sys.stdin.buffer)"],
        {
          input: windowsTask(program, { path: "C:\\Program Files\\A & B\\upkeep.exe" }),
          encoding: "utf8",
          timeout: 20_000,
        },
      );
      assert.deepEqual([ran.status, ran.stderr], [0, ""]);
    }
  });

  it("are refused for a path that systemd would read as something else", () => {
    for (const path of [
      "upkeep",
      "/opt/a b/upkeep",
      "/opt/%h/upkeep",
      "/opt/$X/upkeep",
      "/x\nExecStartPre=/bin/sh",
    ]) {
      const ran = spawnSync(
        process.execPath,
        [join(root, "src/apps/cli/main.ts"), "signer", "units", "signer", "--program", path],
        { encoding: "utf8", timeout: 20_000 },
      );
      assert.equal(ran.status, 2, path);
    }
  });
});

describe("gateway and signer under systemd", () => {
  it(
    "start, sign from keys without network, reload, come back after a kill, and stop in order",
    machine(),
    () => {
      const place = join(folder, "run");
      for (const sub of ["", "stage", "out"]) mkdirSync(join(place, sub));
      copyFileSync(join(root, "test/e2e/_machine-driver.sh"), join(place, "stage/driver.sh"));
      const cgroup = join(cgroupRoot()!, `upkeep-test-${process.pid}`);
      mkdirSync(cgroup);
      try {
        spawnSync(
          "sh",
          [join(root, "test/e2e/_machine.sh"), place, cgroup, root, realpathSync(process.execPath)],
          {
            timeout: 120_000,
            killSignal: "SIGKILL",
            stdio: "ignore",
          },
        );
        const log = existsSync(join(place, "out/driver.log"))
          ? readFileSync(join(place, "out/driver.log"), "utf8")
          : "";
        const said = (name: string): readonly string[] =>
          [...log.matchAll(new RegExp(`^${name}: (.*)$`, "gm"))].map((match) => match[1]!);
        assert.deepEqual(
          [said("first"), said("upkeep-signer"), said("upkeep-gateway")],
          [["signed"], ["active"], ["active"]],
          log,
        );
        const processes = said("process").map((line) => /^(\S+) (\S+) (.*?) *$/.exec(line)!.slice(1));
        const network = (name: string): readonly string[] =>
          processes.filter(([program]) => program === name).map(([, net]) => net!);
        const [ours] = network("keeper");
        assert.deepEqual(network("signer/front.ts"), [ours], log);
        // The log's key and the one that signs, each alone in a network of its own.
        assert.equal(new Set([...network("signer/worker.ts"), ours]).size, 3, log);
        for (const [program, , facts] of processes)
          assert.match(facts!, /^uid=[1-9]\d* caps=0{16} nnp=1 seccomp=2$/, program);
        assert.deepEqual([said("reload"), said("reloaded"), said("log mode")], [["ok"], ["1"], ["600"]], log);
        assert.deepEqual([said("second"), said("restarts")], [["signed"], ["1"]], log);
        assert.deepEqual([said("result"), said("stopped")], [["success success"], ["stopped"]], log);
      } finally {
        removeCgroup(cgroup);
      }
    },
  );
});

/** Where the one hierarchy of cgroup v2 is mounted. */
function cgroupRoot(): string | null {
  const mounts = readFileSync("/proc/self/mounts", "utf8");
  return /^\S+ (\S+) cgroup2 /m.exec(mounts)?.[1] ?? null;
}

function machine(): { skip?: string } {
  const missing = needs("unshare", "systemd-sysusers", "systemd-creds", "setpriv", "ip", "pgrep");
  if (missing.skip !== undefined) return missing;
  if (process.getuid?.() !== 0) return { skip: "only root can start a systemd of its own" };
  if (!existsSync("/lib/systemd/systemd")) return { skip: "not installed: systemd" };
  if (cgroupRoot() === null) return { skip: "there is no cgroup v2 here" };
  const probe = spawnSync(
    "unshare",
    ["--fork", "--pid", "--mount", "--cgroup", "--ipc", "--uts", "--net", "sh", "-c", PROBE],
    { timeout: 10_000 },
  );
  return probe.status === 0 ? {} : { skip: "this kernel or container allows no overlay in a namespace" };
}

function removeCgroup(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroup(join(path, entry.name));
  try {
    rmdirSync(path);
  } catch {
    // A process of the machine is still ending; an empty group is left behind.
  }
}
