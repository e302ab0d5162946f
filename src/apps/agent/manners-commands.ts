// The verbs of `agent` about when updates are activated, and who is asked.

import type { CommandSpec } from "../framework/command.ts";

const run = () => import("./manners-verbs.ts");
const product = { name: "[product]", about: "the component (all of them)" };

export const mannersCommands: readonly CommandSpec[] = [
  {
    name: "hold",
    about: "keep updates from being activated on this device for now",
    details:
      "They are fetched and verified all the same, and wait. A hold outlasts everything but the deadline of the group's signed policy;\n`upkeep agent status` shows it.",
    arguments: [product],
    options: [
      { flags: "--until <time>", about: "when it ends, as 2026-12-01T04:00:00Z (when it is released)" },
      { flags: "--for <time>", about: "how long it lasts, as 12h or 2d" },
    ],
    examples: [
      "upkeep agent hold shop",
      "upkeep agent hold --for 2d",
      "upkeep agent hold shop --until 2026-12-01T04:00:00Z",
    ],
    run: async (call) => (await run()).agentHold(call),
  },
  {
    name: "release",
    about: "end a hold; without a product all of them",
    arguments: [product],
    examples: ["upkeep agent release shop", "upkeep agent release"],
    run: async (call) => (await run()).agentRelease(call),
  },
  {
    name: "opt-out",
    about: "let nothing be fetched or activated by itself on this device",
    details:
      "What somebody asks for with `upkeep agent update --now` is done, and what the deadline of the group's signed policy asks for.",
    arguments: [product],
    examples: ["upkeep agent opt-out", "upkeep agent opt-out shop"],
    run: async (call) => (await run()).agentOptOut(call),
  },
  {
    name: "opt-in",
    about: "end an opt-out",
    arguments: [product],
    examples: ["upkeep agent opt-in"],
    run: async (call) => (await run()).agentOptIn(call),
  },
  {
    name: "prompts",
    about: "list what people are asked about updates",
    options: [{ flags: "--lang <language>", about: "in this language, as de (that of the device)" }],
    examples: ["upkeep agent prompts", "upkeep agent prompts --lang de --json"],
    run: async (call) => (await run()).agentPrompts(call),
  },
  {
    name: "answer",
    about: "answer a prompt: accept, later or skip",
    details:
      "An answer is remembered until a newer release comes, and ends at the deadline of the policy. Another answer may follow.",
    arguments: [
      { name: "<id>", about: "as `upkeep agent prompts` names it, or the product" },
      { name: "<answer>", about: "accept, later or skip" },
    ],
    options: [{ flags: "--for <time>", about: "with later: for so long (4h)" }],
    examples: ["upkeep agent answer shop@1.2.0 accept", "upkeep agent answer shop later --for 2h"],
    run: async (call) => (await run()).agentAnswer(call),
  },
  {
    name: "policy",
    about: "show when updates are activated here and who says so, or what would happen at a time",
    details:
      "`show` merges the group's signed policy with that of agent.toml, and names whose word each part is: of two the one that waits longer\nholds, up to the deadline. `test` says what would happen at a time to an update that is at hand.",
    arguments: [{ name: "[what]", about: "show (default) or test" }],
    options: [
      { flags: "--at <time>", about: "with test: as 2026-12-01T04:00:00Z (now)" },
      { flags: "--product <name>", about: "this product only" },
      { flags: "--kind <kind>", about: "with test: feature, security, recall or repair" },
    ],
    examples: [
      "upkeep agent policy",
      "upkeep agent policy show --json",
      "upkeep agent policy test --at 2026-12-01T09:30:00Z",
    ],
    run: async (call) => (await run()).agentPolicy(call),
  },
  {
    name: "lock",
    about: "say for an application: not now",
    details:
      "The lock ends by itself after its lease; taking it again renews it. A file of any content in components/<product>/locks/ is the same,\nand components find that folder in UPKEEP_LOCKS.",
    arguments: [
      { name: "<product>", about: "the component" },
      { name: "<holder>", about: "a name for who holds it" },
    ],
    options: [
      { flags: "--for <time>", about: "its lease, a day at most (10m)" },
      { flags: "--why <text>", about: "what `upkeep agent status` says" },
    ],
    examples: ["upkeep agent lock shop backup --for 30m --why 'nightly backup'"],
    run: async (call) => (await run()).agentLock(call),
  },
  {
    name: "unlock",
    about: "end a lock before its lease does",
    arguments: [
      { name: "<product>", about: "the component" },
      { name: "<holder>", about: "who holds it" },
    ],
    examples: ["upkeep agent unlock shop backup"],
    run: async (call) => (await run()).agentUnlock(call),
  },
  {
    name: "guard",
    about: "run a command during which no update of a component is activated",
    details:
      "Ends with the command's exit code. The lock names the process that holds it and is renewed while the command runs: after a crash\nof either it holds no longer than a minute. Works without a running agent, too. What follows -- is run as it is, without a shell.",
    arguments: [
      { name: "<product>", about: "the component" },
      { name: "<command...>", about: "program and arguments, after --" },
    ],
    options: [
      { flags: "--holder <name>", about: "a name for who holds it (guard and the process number)" },
      { flags: "--why <text>", about: "what `upkeep agent status` says (the command)" },
    ],
    examples: ["upkeep agent guard shop -- pg_dump shop"],
    run: async (call) => (await import("./guard.ts")).agentGuard(call),
  },
];
