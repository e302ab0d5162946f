// Makes the executables that Upkeep is released as: `upkeep` (all commands) and `upkeep-agent`, one file each, the same bytes from every clone.
//
//   node tools/executables.ts OUT [--platform linux-x64|linux-arm64|windows-x64 …]
//
// They are signed afterwards, as their last change; an agent for devices that matter is built by `upkeep agent build --publisher-cert`.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { makeExecutable } from "../src/apps/cli/agent-build/executable.ts";
import { ownTarget, parseTarget, TARGETS } from "../src/apps/cli/agent-build/node-program.ts";
import { ownVersion } from "../src/apps/framework/own-program.ts";

const ENTRIES = { upkeep: "../src/apps/cli/executable.ts", "upkeep-agent": "../src/apps/agent/main.ts" };
/** Bindings that are files of machine code of their own: tokens (PKCS#11) and Windows' services need the npm package. */
const OUTSIDE = ["koffi", "esbuild"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { platform: { type: "string", multiple: true } },
});
const out = positionals[0];
const targets = (values.platform ?? [ownTarget() ?? "none"]).map(parseTarget);
if (out === undefined || targets.includes(null)) {
  console.error(`Usage: node tools/executables.ts OUT [--platform ${TARGETS.join("|")} …]`);
  process.exit(2);
}

const version = ownVersion();
mkdirSync(out, { recursive: true });
const sums: string[] = [];
for (const target of targets.filter((one) => one !== null)) {
  for (const [name, entry] of Object.entries(ENTRIES)) {
    const file = `${name}-${version}-${target}${target === "windows-x64" ? ".exe" : ""}`;
    await makeExecutable({
      entry: new URL(entry, import.meta.url).pathname,
      version,
      target,
      out: resolve(out, file),
      external: OUTSIDE,
      assets: {},
      step: () => {},
    });
    const digest = createHash("sha256")
      .update(readFileSync(join(out, file)))
      .digest("hex");
    sums.push(`${digest}  ${file}\n`);
  }
}
writeFileSync(join(out, "SHA256SUMS.executables"), sums.join(""));
process.stdout.write(sums.join(""));
