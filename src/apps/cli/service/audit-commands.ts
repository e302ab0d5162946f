// The noun `audit`: what the signer's log says, and whether it can be believed.

import type { NounSpec, OptionSpec } from "../../framework/command.ts";

const WHERE: readonly OptionSpec[] = [
  { flags: "--log <folder>", about: "the log's folder; by default the one of the signer in the data folder" },
  {
    flags: "--log-key <key>",
    about: "the log's key, name+id+key; by default from the signer in the data folder",
  },
];

export const auditNoun: NounSpec = {
  name: "audit",
  about: "read and check the signing service's audit log",
  commands: [
    {
      name: "verify",
      about: "check every entry, the tree, the checkpoints and the kept documents",
      details:
        "Names each entry that was edited, deleted, reordered, inserted or truncated. A log that was rewritten as a whole is found\nby a checkpoint or a receipt that was kept elsewhere. Ends with 6 when something is wrong.",
      options: [
        ...WHERE,
        {
          flags: "--checkpoint <file>",
          about: "a checkpoint that was kept elsewhere; may be repeated",
          repeat: true,
        },
        {
          flags: "--receipt <file>",
          about: "a receipt whose checkpoint must be in the log; may be repeated",
          repeat: true,
        },
      ],
      examples: ["upkeep audit verify", "upkeep audit verify --receipt setup.exe.receipt"],
      run: async (call) => (await import("./audit.ts")).auditVerify(call),
    },
    {
      name: "find",
      about: "find what the log says about a file, by its digests",
      arguments: [{ name: "<file>", about: "a signed or unsigned file, or a digest in hex" }],
      options: WHERE,
      examples: ["upkeep audit find setup.exe", "upkeep audit find setup.exe --json"],
      run: async (call) => (await import("./audit.ts")).auditFind(call),
    },
    {
      name: "prove",
      about: "print the receipt of an entry again, or a proof that the log only grew",
      arguments: [{ name: "[entry]", about: "number of the entry" }],
      options: [
        ...WHERE,
        { flags: "--since <file>", about: "an older checkpoint: prove that today's log continues it" },
      ],
      examples: ["upkeep audit prove 4711 > receipt.txt", "upkeep audit prove --since old-checkpoint"],
      run: async (call) => (await import("./audit.ts")).auditProve(call),
    },
    {
      name: "list",
      about: "list entries",
      options: [
        ...WHERE,
        { flags: "--kind <kind>", about: "only entries of this kind" },
        { flags: "--user <name>", about: "only entries of this user" },
        { flags: "--last <n>", about: "how many, from the end", default: "50" },
      ],
      examples: ["upkeep audit list --kind denied", "upkeep audit list --user build-1 --json"],
      run: async (call) => (await import("./audit.ts")).auditList(call),
    },
    {
      name: "receipt",
      about: "check a receipt against a file",
      details: "Ends with 6 when the receipt does not belong to the file, or the entry is not in the log.",
      arguments: [
        { name: "<receipt>", about: "the receipt" },
        { name: "[file]", about: "the signed file" },
      ],
      options: [
        {
          flags: "--service <file>",
          about: "the service description that names the log's key",
          env: "UPKEEP_SERVICE",
        },
        { flags: "--log-key <key>", about: "the log's key itself" },
      ],
      examples: ["upkeep audit receipt setup.exe.receipt setup.exe --service service.json"],
      run: async (call) => (await import("./audit.ts")).auditReceipt(call),
    },
  ],
};
