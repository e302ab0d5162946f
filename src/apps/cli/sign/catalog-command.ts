// The command `catalog`: makes a catalog of files, to be signed like any other file.

import type { CommandSpec } from "../../framework/command.ts";

export const catalogCommand: CommandSpec = {
  name: "catalog",
  about: "make a catalog (.cat) of files, such as those of a driver",
  details:
    "Lists the files by their SHA-256, Windows programs by their image. Sign the catalog with `upkeep sign`;\n`upkeep verify --catalog` then verifies a file by it.",
  arguments: [
    { name: "<catalog>", about: "the file to write" },
    { name: "<file...>", about: "files, patterns, or @LIST" },
  ],
  options: [{ flags: "--replace", about: "write over a catalog that is there" }],
  examples: [
    "upkeep catalog driver.cat driver.sys driver.inf",
    "upkeep verify --root root.pem --catalog driver.cat driver.inf",
  ],
  run: async (call) => (await import("./catalog.ts")).makeCatalog(call),
};
