// The noun `key`: private keys on this machine.

import type { NounSpec } from "../../framework/command.ts";

const SCHEMES = [
  "ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsassa-pss-sha256",
  "rsassa-pss-sha384",
  "rsassa-pss-sha512",
  "ml-dsa-44/1",
  "ml-dsa-65/1",
  "ml-dsa-87/1",
];

export const keyNoun: NounSpec = {
  name: "key",
  about: "make and show signing keys",
  commands: [
    {
      name: "new",
      about: "make a key pair; the private half stays in the data folder",
      details:
        "The file is readable by its owner only. With a passphrase it is wrapped under Argon2id and AES-256-GCM;\nthe passphrase comes from UPKEEP_PASSPHRASE, from --passphrase-file, or is asked for.",
      arguments: [{ name: "<name>", about: "what to call it, for example root-1" }],
      options: [
        { flags: "--scheme <scheme>", about: "how it signs", choices: SCHEMES, default: "ed25519" },
        { flags: "--passphrase", about: "wrap it under a passphrase" },
        { flags: "--passphrase-file <file>", about: "wrap it under the first line of this file" },
      ],
      examples: ["upkeep key new root-1 --passphrase", "upkeep key new online --scheme ecdsa-sha2-nistp256"],
      run: async (call) => (await import("./key.ts")).keyNew(call),
    },
    {
      name: "import",
      about: "take in a private key that another tool made (PEM or DER)",
      details:
        "An encrypted one is opened with its passphrase: from UPKEEP_IMPORT_PASSPHRASE (or UPKEEP_PASSPHRASE when the new file gets none),\nfrom --open-file, or asked for. The key's file here is in the clear unless --passphrase or --passphrase-file wraps it.",
      arguments: [
        { name: "<name>", about: "what to call it" },
        { name: "<file>", about: "PEM or DER file that only its owner may read" },
      ],
      options: [
        {
          flags: "--scheme <scheme>",
          about: "how it signs, if not as such keys usually do",
          choices: SCHEMES,
        },
        { flags: "--open-file <file>", about: "opens an encrypted key: the first line of this file" },
        { flags: "--passphrase", about: "wrap it under a passphrase" },
        { flags: "--passphrase-file <file>", about: "wrap it under the first line of this file" },
      ],
      examples: [
        "upkeep key import online ./online.pem",
        "upkeep key import online ./online.p8 --open-file ./secret",
      ],
      run: async (call) => (await import("./key.ts")).keyImport(call),
    },
    {
      name: "list",
      about: "list the keys of the data folder",
      examples: ["upkeep key list", "upkeep key list --json"],
      run: async (call) => (await import("./key.ts")).keyList(call),
    },
    {
      name: "show",
      about: "show the public half of a key",
      arguments: [{ name: "<key>", about: "its name, its id or the first 8 digits of its id" }],
      options: [
        { flags: "--pem", about: "print it as PEM" },
        { flags: "--out <file>", about: "write it to a file that others take in with --root-key or --new" },
      ],
      examples: ["upkeep key show root-1", "upkeep key show root-1 --out root-1.json"],
      run: async (call) => (await import("./key.ts")).keyShow(call),
    },
  ],
};
