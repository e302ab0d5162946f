// The noun `fleet rollout`: a release goes to devices in phases, and halts by itself where devices fail.

import type { NounSpec, OptionSpec } from "../../framework/command.ts";

const make = () => import("./rollout-new.ts");
const steer = () => import("./rollout.ts");
const show = () => import("./rollout-show.ts");

const rollout = { name: "<rollout>", about: "its id, as rollout list shows it" };
const what = [
  { name: "<product>", about: "what is rolled out" },
  { name: "[version]", about: "which release; else what --channel points to" },
];
const plan: readonly OptionSpec[] = [
  { flags: "--channel <channel>", about: "the release that this channel points to now" },
  { flags: "--group <group>", about: "for this group; else every group with the product", repeat: true },
  {
    flags: "--phase <phase>",
    about: "10%, group:tills, group:tills 50%, device:till-7, where:EXPRESSION 20%",
    otherwise: "1%, 10%, 50%, 100%",
    repeat: true,
  },
  { flags: "--canary <device>", about: "a first phase with this device", repeat: true },
  { flags: "--window <window>", about: "offer it only then, UTC: mon-fri 22:00-04:00", repeat: true },
  { flags: "--start-at <time>", about: "start by itself at this time, once it was started" },
  { flags: "--deadline <time>", about: "from then on every device gets it, in and out of windows" },
  { flags: "--success <percent>", about: "of a phase's devices before the next phase opens", default: "90" },
  { flags: "--failed <percent>", about: "of devices with a result before it halts", default: "10" },
  { flags: "--sample <n>", about: "devices that have to have failed before it halts", default: "3" },
  { flags: "--soak <seconds>", about: "how long a phase lasts at least", default: "3600" },
  {
    flags: "--silent-after <seconds>",
    about: "a device that fell silent over the update counts as failed then; 0: never",
    default: "7200",
  },
  {
    flags: "--approvals <n>",
    about: "how many other people have to approve it",
    otherwise: "what the fleet asks for",
  },
];

export const rolloutNoun: NounSpec = {
  name: "rollout",
  about: "bring a release to devices in phases that halt by themselves",
  commands: [
    {
      name: "new",
      about: "make a rollout",
      details:
        "From then on its release reaches the groups through the rollout alone, also if their channel points to it. Who is in which phase\nfollows from a hash of the device's id, so devices that come later have their place. A group has one rollout of a product at a time.",
      arguments: what,
      options: [...plan, { flags: "--start", about: "start it at once, where no approval is needed" }],
      examples: [
        "upkeep fleet rollout new shop 1.1.0 --group tills --canary till-7 --phase 10% --phase 100% --start",
        'upkeep fleet rollout new shop --channel beta --window "mon-fri 22:00-04:00" --approvals 1',
      ],
      run: async (call) => (await make()).rolloutNew(call),
    },
    {
      name: "plan",
      about: "dry run: who would get it in which phase, and who would not and why",
      details: "Takes what rollout new takes, and writes nothing.",
      arguments: what,
      options: plan,
      examples: ["upkeep fleet rollout plan shop 1.1.0 --group tills --phase 10% --phase 100%"],
      run: async (call) => (await make()).rolloutPlan(call),
    },
    {
      name: "list",
      about: "list rollouts under way",
      options: [
        { flags: "--all", about: "also those that are over" },
        { flags: "--product <product>", about: "of this product" },
      ],
      examples: ["upkeep fleet rollout list", "upkeep fleet rollout list --all --json"],
      run: async (call) => (await show()).rolloutList(call),
    },
    {
      name: "show",
      about: "show a rollout: phases, devices, failures, and what it waits for",
      arguments: [rollout],
      options: [
        { flags: "--watch", about: "on a terminal: keep the page up to date until the rollout is over" },
        { flags: "--history", about: "also who did what, from the audit log" },
      ],
      examples: ["upkeep fleet rollout show shop-1", "upkeep fleet rollout show shop-1 --watch"],
      run: async (call) => (await show()).rolloutShow(call),
    },
    {
      name: "approve",
      about: "approve a rollout that another person made",
      arguments: [rollout],
      examples: ["upkeep fleet rollout approve shop-1"],
      run: async (call) => (await steer()).rolloutApprove(call),
    },
    {
      name: "start",
      about: "open its first phase now, or at its --start-at",
      arguments: [rollout],
      examples: ["upkeep fleet rollout start shop-1"],
      run: async (call) => (await steer()).rolloutStart(call),
    },
    {
      name: "advance",
      about: "open the next phase without waiting for its rules",
      arguments: [rollout],
      examples: ["upkeep fleet rollout advance shop-1"],
      run: async (call) => (await steer()).rolloutAdvance(call),
    },
    {
      name: "pause",
      about: "offer it to no further device for now",
      arguments: [rollout],
      examples: ["upkeep fleet rollout pause shop-1"],
      run: async (call) => (await steer()).rolloutPause(call),
    },
    {
      name: "resume",
      about: "go on after a pause or a halt",
      details: "Failures from before do not halt it again: who resumes has seen them.",
      arguments: [rollout],
      examples: ["upkeep fleet rollout resume shop-1"],
      run: async (call) => (await steer()).rolloutResume(call),
    },
    {
      name: "abort",
      about: "end it: no further device of its groups gets the release",
      details:
        "Devices that run the release keep it. To bring them back, recall it: upkeep release recall PRODUCT VERSION --reason TEXT.",
      arguments: [rollout],
      examples: ["upkeep fleet rollout abort shop-1"],
      run: async (call) => (await steer()).rolloutAbort(call),
    },
    {
      name: "approvals",
      about: "set how many other people approve each rollout of a product",
      arguments: [
        { name: "<n>", about: "0 to 5" },
        { name: "[product]", about: "of this product; else of those without a number" },
      ],
      examples: ["upkeep fleet rollout approvals 1", "upkeep fleet rollout approvals 2 till-firmware"],
      run: async (call) => (await steer()).rolloutApprovals(call),
    },
  ],
};
