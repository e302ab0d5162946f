// Makes dist/, what the npm package holds instead of src/: JavaScript and types, since Node strips no types below node_modules.

import { spawnSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";

const root = new URL("..", import.meta.url).pathname;
const out = join(root, "dist");
rmSync(out, { recursive: true, force: true });
const compiler = join(root, "node_modules/typescript/bin/tsc");
const { status } = spawnSync(process.execPath, [compiler, "-p", join(root, "tools/tsconfig.emit.json")], {
  stdio: ["ignore", "inherit", "inherit"],
});
if (status !== 0) process.exit(status ?? 1);
chmodSync(join(out, "apps/cli/main.js"), 0o755);
