// The noun `release`: what products consist of, and which release a channel stands for.

import type { NounSpec, OptionSpec } from "../../framework/command.ts";
import { SIGNING_KEYS } from "../key/key-options.ts";
import { KIND_OPTIONS } from "./kind-options.ts";

const ATTESTATION_OPTIONS: readonly OptionSpec[] = [
  { flags: "--sbom <file>", about: "bill of materials, CycloneDX or SPDX as JSON, published beside it" },
  {
    flags: "--provenance <file>",
    about: "the builder's in-toto statement (SLSA), published beside it; it has to name these very artifacts",
  },
  { flags: "--source <url>", about: "without --provenance: where the source is; makes a statement" },
  { flags: "--commit <sha>", about: "without --provenance: which commit was built" },
  { flags: "--builder <id>", about: "without --provenance: who built it, such as the URL of the job" },
];

export const releaseNoun: NounSpec = {
  name: "release",
  about: "add, promote, show and recall releases",
  commands: [
    {
      name: "add",
      about: "sign a release and publish it; no channel points to it yet",
      details:
        "An ARTIFACT is [PLATFORM=]PATH, where PLATFORM is for example linux-x64, linux-x64-musl, windows-arm64 or any (the\ndefault). A folder is packed into a tar, with the same bytes on every machine, that devices make again from what they\ninstalled; a .tar and a .tar.zst become a tar.gz; a .tar.gz and a .zip are taken as the archives that they are, whatever\ntheir names; anything else is a single file, installed as PRODUCT. Names inside have to be such that devices of the platform can write them. What is not given (entry point,\nhealth probe, publisher) is as in the highest earlier release.",
      arguments: [
        { name: "<product>", about: "lower-case name" },
        { name: "<version>", about: "SemVer; higher than what devices run" },
        { name: "<artifact...>", about: "[PLATFORM=]PATH" },
      ],
      options: [
        { flags: "--channel <name>", about: "the channel it was made for", default: "stable" },
        { flags: "--promote", about: "also point this channel to it, in the same publication" },
        {
          flags: "--run <command>",
          about: "entry point: program inside the artifact and its arguments, split at spaces",
        },
        { flags: "--env <NAME=VALUE>", about: "environment of the entry point", repeat: true },
        { flags: "--data-only", about: "nothing is started: the artifact is data" },
        ...KIND_OPTIONS,
        {
          flags: "--archive <format>",
          about: "what folders are packed into: tar.gz is for agents that do not know tar",
          choices: ["tar", "tar.gz"],
          default: "tar",
        },
        {
          flags: "--delta-from <version>",
          about:
            "make a patch from this release, and from no others but those named so (the last 3, and each on a channel)",
          repeat: true,
        },
        { flags: "--no-delta", about: "make no patches: devices fetch the whole" },
        { flags: "--as-file", about: "install an archive as the one file that it is" },
        {
          flags: "--health <probe>",
          about:
            "http:/path (port from the variable PORT), http:PORT/path, command:PROGRAM ARGS, exit-code, or running",
        },
        { flags: "--probation <seconds>", about: "how long it must stay healthy before it is committed" },
        { flags: "--start-grace <seconds>", about: "how long it may take to start" },
        {
          flags: "--socket <NAME=ADDRESS>",
          about:
            "a socket that devices listen on for it and every version inherits: tcp:PORT, tcp:ADDRESS:PORT or unix:/run/PATH",
          repeat: true,
        },
        {
          flags: "--hand-over",
          about: "the next version starts beside this one, which ends once that one serves",
        },
        {
          flags: "--drain <seconds>",
          about: "with --hand-over: how long this version has to answer what it has begun (30)",
        },
        { flags: "--notify", about: "with --hand-over: it says by itself when it serves (READY=1)" },
        { flags: "--security", about: "it closes a security hole" },
        { flags: "--licensed", about: "it comes with a license only (a security release comes to all)" },
        { flags: "--edition <name>", about: "and only with one of this edition", repeat: true },
        {
          flags: "--backdated-to <time>",
          about:
            "count it as published at this earlier time, such as 2026-11-21T04:00:00Z, for licenses that ended since",
        },
        { flags: "--minimum-from <version>", about: "lowest version that may go to it directly" },
        { flags: "--floor <version>", about: "once committed, nothing lower is ever installed again" },
        { flags: "--needs <product@range>", about: "dependency, for example db@>=1.2.0", repeat: true },
        { flags: "--notes-file <file>", about: "release notes" },
        {
          flags: "--config <file>",
          about: "TOML with component, entryPoint, health, publisher, dependencies, sockets, handOver",
        },
        {
          flags: "--cert <name>",
          about:
            "have the signing service sign every artifact with this certificate first: programs inside, archives beside",
        },
        { flags: "--timestamp", about: "with --cert: with timestamps of the service's authorities" },
        {
          flags: "--release-number <n>",
          about:
            "with --cert, Linux programs: a number that grows with every release (the current time in seconds)",
        },
        ...ATTESTATION_OPTIONS,
        {
          flags: "--product-key <file>",
          about: "new product: public key of a person who signs its releases, as `key show --out` writes it",
          repeat: true,
        },
        {
          flags: "--product-threshold <n>",
          about: "new product: how many of them must sign each release (2 if there are several)",
        },
        ...SIGNING_KEYS,
      ],
      examples: [
        'upkeep release add shop 1.0.0 ./dist --run "bin/shop --serve" --health http:/health --promote',
        "upkeep release add shop 1.1.0 ./dist --socket http=tcp:8080 --hand-over --drain 60 --promote",
        "upkeep release add tool 2.1.0 linux-x64=build/tool windows-x64=build/tool.exe --health exit-code",
        "upkeep release add shopctl 1.4.0 ./dist --kind command --command bin/shopctl --promote",
        "upkeep release add tables 7.0.0 ./tables --kind data --reload signal:shop --promote",
        "upkeep release add base 3.2.0 base_3.2.0_amd64.deb --kind handler --handler debian-package --promote",
        "upkeep release add tool 2.1.0 build/tool build/tool.exe --service service.json --identity build-1.pem --cert release",
      ],
      run: async (call) => (await import("./add.ts")).releaseAdd(call),
    },
    {
      name: "promote",
      about: "point a channel to a release",
      arguments: [
        { name: "<product>", about: "which product" },
        { name: "<version>", about: "which release" },
        { name: "[channel]", about: "which channel (stable)" },
      ],
      options: SIGNING_KEYS,
      examples: ["upkeep release promote shop 1.1.0", "upkeep release promote shop 1.2.0-rc.1 beta"],
      run: async (call) => (await import("./list-promote-show.ts")).releasePromote(call),
    },
    {
      name: "list",
      about: "list releases, the channels that point to them, and what was recalled",
      arguments: [{ name: "[product]", about: "only this product" }],
      examples: ["upkeep release list", "upkeep release list shop --json"],
      run: async (call) => (await import("./list-promote-show.ts")).releaseList(call),
    },
    {
      name: "show",
      about: "show a release's manifest",
      arguments: [
        { name: "<product>", about: "which product" },
        { name: "<version>", about: "which release" },
      ],
      options: [
        {
          flags: "--document <kind>",
          about: "print this document about it instead",
          choices: ["sbom", "provenance"],
        },
      ],
      examples: ["upkeep release show shop 1.1.0", "upkeep release show shop 1.1.0 --document sbom"],
      run: async (call) => (await import("./list-promote-show.ts")).releaseShow(call),
    },
    {
      name: "affected",
      about: "list the devices that report running a release",
      arguments: [
        { name: "<product>", about: "which product" },
        { name: "<version>", about: "which release" },
      ],
      examples: ["upkeep release affected shop 1.2.0 --json"],
      run: async (call) => (await import("./recall.ts")).releaseAffected(call),
    },
    {
      name: "recall",
      about: "take a release back and let devices that run it go back",
      details:
        "Withdraws the release, lets every channel that points to it return to the last release it pointed to, and signs the\npermission to go back. Devices do so at their next check, also those that are trying it; their floor holds all the same,\nunless --lift-floor. The number can never be used again. A release that the repository does not list, such as a thief's, is\nrecalled by its number alone.",
      arguments: [
        { name: "<product>", about: "which product" },
        { name: "<version>", about: "which release" },
      ],
      options: [
        { flags: "--reason <text>", about: "shown on every device", required: true },
        {
          flags: "--to <version>",
          about: "where devices go (where each channel pointed last before, and what is not recalled)",
        },
        {
          flags: "--lift-floor",
          about: "the release was not ours: devices drop the floor that it set",
        },
        ...SIGNING_KEYS,
      ],
      examples: ['upkeep release recall shop 1.2.0 --reason "loses orders on restart"'],
      run: async (call) => (await import("./recall.ts")).releaseRecall(call),
    },
    {
      name: "feed",
      about: "write a channel's release as other update clients read it",
      details:
        "For applications whose users have electron-updater, Sparkle or WinSparkle, and for winget and Homebrew. Such a feed is weaker than the\nrepository: it is not signed as a whole, does not expire, and knows no recalls. Nothing writes one unless you do.",
      arguments: [{ name: "<product>", about: "which product" }],
      options: [
        {
          flags: "--format <format>",
          about: "for which client",
          choices: ["electron", "sparkle", "winget", "homebrew"],
          required: true,
        },
        { flags: "--url <address>", about: "where the repository is served (https)", required: true },
        { flags: "--out <folder>", about: "where the files go", required: true },
        { flags: "--channel <channel>", about: "which channel", default: "stable" },
        { flags: "--sparkle-key <name>", about: "ed25519 key of this data folder that signs for Sparkle" },
        { flags: "--title <text>", about: "the product's name for people" },
        { flags: "--id <id>", about: "winget: package, for example Example.Shop" },
        { flags: "--publisher <name>", about: "winget: who publishes it" },
        { flags: "--license <spdx>", about: "winget, homebrew: its license" },
        { flags: "--summary <text>", about: "winget, homebrew: one line about it" },
        { flags: "--homepage <address>", about: "homebrew: its page" },
      ],
      examples: [
        "upkeep release feed shop --format electron --url https://updates.example.org/repository --out ./feed",
        "upkeep release feed shop --format sparkle --sparkle-key sparkle --url https://updates.example.org/repository --out ./feed",
      ],
      run: async (call) => (await import("./feed.ts")).releaseFeed(call),
    },
  ],
};
