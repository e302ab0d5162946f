// Brings the Debian packages that some tests use as independent witnesses; says by name what could not be brought.

import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Package, and a program or file that shows it is there; `*` stands for a version. */
const WITNESSES: readonly (readonly [name: string, probe: string])[] = [
  ["openssl", "/usr/bin/openssl"],
  ["osslsigncode", "/usr/bin/osslsigncode"],
  ["softhsm2", "/usr/bin/softhsm2-util"],
  ["opensc", "/usr/bin/pkcs11-tool"],
  ["binutils", "/usr/bin/strip"],
  ["busybox-static", "/bin/busybox"],
  ["faketime", "/usr/bin/faketime"],
  ["strace", "/usr/bin/strace"],
  ["wixl", "/usr/bin/wixl"],
  ["msitools", "/usr/bin/msiinfo"],
  ["gcab", "/usr/bin/gcab"],
  ["attr", "/usr/bin/setfattr"],
  ["acl", "/usr/bin/setfacl"],
  ["python3", "/usr/bin/python3"],
  ["python3-cryptography", "/usr/lib/python3/dist-packages/cryptography/__init__.py"],
  ["postgresql", "/usr/lib/postgresql/*/bin/initdb"],
];
/** Debian's package makes a database cluster and starts it, unless a file here says otherwise; tests start their own. */
const NO_CLUSTER = "/etc/postgresql-common/createcluster.d/upkeep-tests.conf";

/** Installs what is missing, after it has said what; `install` false only says it. */
export function prepare(install: boolean): void {
  const missing = WITNESSES.filter(([, probe]) => globSync(probe).length === 0).map(([name]) => name);
  if (missing.length === 0) return;
  if (!install) {
    console.log(`- not installed, as asked: ${missing.join(", ")}; tests that need them say so`);
    return;
  }
  if (process.getuid?.() !== 0 || spawnSync("sh", ["-c", "command -v apt-get"]).status !== 0) {
    console.log(
      `- not installed, and not installable by this user: ${missing.join(", ")}; tests that need them say so`,
    );
    return;
  }
  console.log(
    `  installing Debian packages for the tests: ${missing.join(", ")} (--no-install leaves them out)`,
  );
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...args: string[]): boolean =>
    spawnSync("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=120", ...args], {
      stdio: ["ignore", "ignore", "inherit"],
      env,
      timeout: 300_000,
    }).status === 0;
  mkdirSync(dirname(NO_CLUSTER), { recursive: true });
  writeFileSync(NO_CLUSTER, "create_main_cluster = false\n");
  const done = apt("update") && apt("install", "-y", "--no-install-recommends", ...missing);
  rmSync(NO_CLUSTER, { force: true });
  console.log(
    done
      ? `✓ prepared: ${missing.join(", ")}`
      : `- could not be installed: ${missing.join(", ")}; tests that need them say so`,
  );
}
