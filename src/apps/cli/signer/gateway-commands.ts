// The noun `gateway`: the part of the signing service that faces the network and knows nothing.

import type { NounSpec } from "../../framework/command.ts";

export const gatewayNoun: NounSpec = {
  name: "gateway",
  about: "relay between clients and signers",
  commands: [
    {
      name: "init",
      about: "make a gateway's identity and configuration",
      options: [
        {
          flags: "--clients <address:port>",
          about: "where clients connect: 0.0.0.0:7443 for every address of this machine",
          default: "127.0.0.1:7443",
        },
        {
          flags: "--signers <address:port>",
          about: "where signers connect: 0.0.0.0:7444 for every address of this machine",
          default: "127.0.0.1:7444",
        },
        {
          flags: "--signer <name=spki>",
          about: "a signer and the SHA-256 of its key; may be repeated",
          repeat: true,
        },
      ],
      details: "Without --clients and --signers it listens to this machine only.",
      examples: [
        "upkeep gateway init --clients 0.0.0.0:7443 --signers 0.0.0.0:7444",
        "upkeep gateway init --signer signer-1=4f0c...",
      ],
      run: async (call) => (await import("./gateway.ts")).gatewayInit(call),
    },
    {
      name: "show",
      about: "print its identity, where it listens and which signers may connect",
      examples: ["upkeep gateway show --json"],
      run: async (call) => (await import("./gateway.ts")).gatewayShow(call),
    },
    {
      name: "add",
      about: "let a signer connect",
      arguments: [{ name: "<name=spki>", about: "its name and the SHA-256 of its key" }],
      examples: ["upkeep gateway add signer-2=4f0c..."],
      run: async (call) => (await import("./gateway.ts")).gatewayAdd(call),
    },
    {
      name: "status",
      about: "show the running gateway's counters: sessions, waiting clients, idle signers, refusals",
      details:
        'It reads the page that `metrics = "127.0.0.1:7445"` under [listen] in gateway.toml switches on; a collector reads the same counters\nthere as /metrics.',
      examples: ["upkeep gateway status --json"],
      run: async (call) => (await import("./gateway.ts")).gatewayStatus(call),
    },
    {
      name: "run",
      about: "relay until stopped",
      examples: ["upkeep gateway run"],
      run: async (call) => (await import("./gateway.ts")).gatewayRun(call),
    },
  ],
};
