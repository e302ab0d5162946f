// Brings the Debian packages that some tests use as independent witnesses; says by name what could not be brought.

import { spawnSync } from "node:child_process";

/** Package, and a program or file that shows it is there. */
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
];

export function prepare(): void {
  const missing = WITNESSES.filter(([, probe]) => spawnSync("test", ["-e", probe]).status !== 0).map(
    ([name]) => name,
  );
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || spawnSync("sh", ["-c", "command -v apt-get"]).status !== 0) {
    console.log(
      `- not installed, and not installable by this user: ${missing.join(", ")}; tests that need them say so`,
    );
    return;
  }
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const apt = (...args: string[]): boolean =>
    spawnSync("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=120", ...args], {
      stdio: ["ignore", "ignore", "inherit"],
      env,
      timeout: 300_000,
    }).status === 0;
  const done = apt("update") && apt("install", "-y", "--no-install-recommends", ...missing);
  console.log(
    done
      ? `✓ prepared: ${missing.join(", ")}`
      : `- could not be installed: ${missing.join(", ")}; tests that need them say so`,
  );
}
