// The noun `repo`: the TUF repository and its roles.

import type { NounSpec } from "./command.ts";

export const repoNoun: NounSpec = {
  name: "repo",
  about: "make and look after the repository",
  commands: [
    {
      name: "init",
      about: "make a repository: keys, root, roles, first publication",
      details:
        "Makes the keys that are missing (root-1.., targets, products, releases, online, director) and publishes version 1\nof everything. Versions and expiry are never typed: they follow from the roles. Keys that sign rarely (root, targets)\nare wrapped with --passphrase or --passphrase-file; afterwards, move them to media that you lock away.",
      options: [
        { flags: "--root-keys <n>", about: "how many root keys", default: "3" },
        { flags: "--root-threshold <n>", about: "how many of them must sign", default: "2" },
        {
          flags: "--timestamp-days <n>",
          about: "life of the timestamp: how long a mirror may withhold news unnoticed",
          default: "1",
        },
        { flags: "--passphrase", about: "wrap root and targets keys under a passphrase" },
        { flags: "--passphrase-file <file>", about: "wrap them under the first line of this file" },
      ],
      examples: ["upkeep repo init", "upkeep repo init --root-keys 5 --root-threshold 3 --passphrase"],
      run: async (call) => (await import("./run-repo.ts")).repoInit(call),
    },
    {
      name: "status",
      about: "say who signed what until when, and who must sign next",
      details:
        "For cron: ends with 0 when all is well, 4 when somebody must sign soon, 1 when something has expired.",
      examples: ["upkeep repo status", "upkeep repo status --json"],
      run: async (call) => (await import("./run-repo.ts")).repoStatus(call),
    },
    {
      name: "renew",
      about: "sign again what is due: snapshot and timestamp, and other roles whose keys are here",
      details:
        "The server renews snapshot and timestamp by itself; this is for repositories on plain web servers, from cron.",
      options: [{ flags: "--passphrase-file <file>", about: "opens wrapped keys" }],
      examples: ["upkeep repo renew"],
      run: async (call) => (await import("./run-repo.ts")).repoRenew(call),
    },
  ],
};
