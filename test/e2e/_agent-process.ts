// One check of a real agent in a process of its own that ends itself by SIGKILL at a named point: `node _agent-process.ts FOLDER POINT`.

import { checkOnce } from "../../src/apps/agent/serve.ts";
import { noLog } from "../../src/io/system/log.ts";

const [folder, point] = process.argv.slice(2) as [string, string];

const result = await checkOnce({
  folder,
  log: noLog,
  atPoint: async (name) => {
    if (name === point) process.kill(process.pid, "SIGKILL");
  },
});
process.stdout.write(`${JSON.stringify(result)}\n`);
