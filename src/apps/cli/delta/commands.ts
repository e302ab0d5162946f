// The noun `delta`: patches from one file to another, made, applied and looked at.

import { ALGORITHM_NAMES } from "../../../delta/algorithms.ts";
import type { NounSpec } from "../../framework/command.ts";

export const deltaNoun: NounSpec = {
  name: "delta",
  about: "patches from one file to another: make, apply, show",
  commands: [
    {
      name: "make",
      about: "make a patch from an old file to a new one",
      details:
        "Files are best raw: a compressed file has nothing in common with its predecessor. `release add` makes the patches\nof a release by itself; this is for looking what they would be. Needs about four times the file in memory.",
      arguments: [
        { name: "<old>", about: "the file that is there" },
        { name: "<new>", about: "the file that is wanted" },
        { name: "<patch>", about: "where the patch goes; must not exist yet" },
      ],
      options: [
        {
          flags: "--algorithm <name>",
          about: "hd1 is small for programs; zstd is what zstd --patch-from writes",
          choices: ALGORITHM_NAMES,
          default: "hd1",
        },
      ],
      examples: ["upkeep delta make app-1.0 app-1.1 app.hd1"],
      run: async (call) => (await import("./make.ts")).deltaMake(call),
    },
    {
      name: "apply",
      about: "make the new file from the old one and a patch",
      details:
        "A patch of the algorithm hd1 names both files by their SHA-256, and nothing is written unless both fit.\nA patch by zstd names neither: --sha256 and --length say what is wanted.",
      arguments: [
        { name: "<old>", about: "the file that the patch was made from" },
        { name: "<patch>", about: "the patch" },
        { name: "<new>", about: "where the new file goes; must not exist yet" },
      ],
      options: [
        { flags: "--sha256 <digest>", about: "the new file must have this SHA-256" },
        { flags: "--length <bytes>", about: "the new file must have this many bytes" },
      ],
      examples: ["upkeep delta apply app-1.0 app.hd1 app-1.1"],
      run: async (call) => (await import("./apply.ts")).deltaApply(call),
    },
    {
      name: "show",
      about: "show what a patch is for and what it is made of",
      arguments: [{ name: "<patch>", about: "the patch" }],
      examples: ["upkeep delta show app.hd1"],
      run: async (call) => (await import("./show.ts")).deltaShow(call),
    },
  ],
};
