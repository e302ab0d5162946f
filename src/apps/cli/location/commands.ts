// The noun `location`: from which hosts a fleet gets its updates, and how that changes without losing a device.

import type { NounSpec } from "../../framework/command.ts";

const load = () => import("./location.ts");

export const locationNoun: NounSpec = {
  name: "location",
  about: "move a fleet to other hosts, safely",
  commands: [
    {
      name: "init",
      about: "name the keys that may say where updates come from",
      details:
        "Offline keys of several people, with a threshold: no server has one. Without --key, keys location-1, location-2 … are made here.",
      options: [
        { flags: "--key <file>", about: "public key, as `key show --out` writes it", repeat: true },
        { flags: "--keys <n>", about: "how many to make here", default: "3" },
        { flags: "--threshold <n>", about: "how many must sign (more than half)" },
        { flags: "--passphrase", about: "wrap keys that are made here" },
        { flags: "--passphrase-file <file>", about: "opens and wraps keys" },
      ],
      examples: [
        "upkeep location init",
        "upkeep location init --key ann.json --key bob.json --key cem.json --threshold 2",
      ],
      run: async (call) => (await load()).locationInit(call),
    },
    {
      name: "new",
      about: "write the next version of the list of hosts, for people to sign",
      details:
        "Devices probe the new hosts before they use them, try them with the old ones still at hand, and go back by themselves when too few\ncheck-ins succeed. Hosts of the enrollment stay the last resort until a version retires them.",
      options: [
        { flags: "--server <address>", about: "host:port of an update server, in turn", repeat: true },
        { flags: "--mirror <address>", about: "https:// address of a copy of the repository", repeat: true },
        { flags: "--retire <address>", about: "host:port that is given up for good", repeat: true },
        { flags: "--days <n>", about: "how long it may be taken over, 1 to 730", default: "365" },
        { flags: "--trial-seconds <n>", about: "how long a trial lasts at most", default: "604800" },
        { flags: "--successes <n>", about: "check-ins at the new hosts that settle it", default: "5" },
        { flags: "--out <file>", about: "a new file", required: true },
      ],
      examples: [
        "upkeep location new --server updates2.example.org:8443 --out move.location",
        "upkeep location new --server u2.example.org:8443 --retire u1.example.org:8443 --out end.location",
      ],
      run: async (call) => (await load()).locationNew(call),
    },
    {
      name: "sign",
      about: "show a list of hosts and add a signature to it",
      arguments: [{ name: "<file>", about: "written by location new" }],
      options: [
        { flags: "--key <key>", about: "which key signs", repeat: true },
        { flags: "--passphrase-file <file>", about: "opens the key" },
      ],
      examples: ["upkeep location sign move.location --key location-1"],
      run: async (call) => (await load()).locationSign(call),
    },
    {
      name: "publish",
      about: "publish a list of hosts that enough people have signed",
      arguments: [{ name: "<file>", about: "signed by enough keys" }],
      options: [{ flags: "--passphrase-file <file>", about: "opens the targets key" }],
      examples: ["upkeep location publish move.location"],
      run: async (call) => (await load()).locationPublish(call),
    },
    {
      name: "status",
      about: "show the published versions, and who may sign the next",
      examples: ["upkeep location status", "upkeep location status --json"],
      run: async (call) => (await load()).locationStatus(call),
    },
  ],
};
