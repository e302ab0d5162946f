// Tests of the settings file: what it sets, what comes before it, and how a wrong one is refused.

import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { systemDisk } from "../../io/system/disk.ts";
import type { Call, TableEntry } from "./command.ts";
import { runProgram } from "./program.ts";
import { loadSettings } from "./settings-file.ts";
import { TABLE } from "../cli/table.ts";

let home: string;
before(async () => {
  home = await mkdtemp(join(tmpdir(), "upkeep-settings-"));
  await mkdir(join(home, ".config/upkeep"), { recursive: true });
});
after(() => rm(home, { recursive: true, force: true }));

let call: Call;
const table: readonly TableEntry[] = [
  {
    name: "sign",
    about: "",
    examples: [],
    options: [
      { flags: "--service <file>", about: "where", env: "UPKEEP_SERVICE" },
      { flags: "--cert <name>", about: "which", required: true },
      { flags: "--timestamp", about: "" },
      { flags: "--jobs <n>", about: "", default: "4" },
      { flags: "--hash <name>", about: "", choices: ["sha256", "sha512"] },
      { flags: "--add-cert <file>", about: "", repeat: true },
      { flags: "--yes", about: "" },
      { flags: "--no-delta", about: "" },
    ],
    run: async (given) => {
      call = given;
      return {};
    },
  },
  {
    name: "repo",
    about: "",
    commands: [
      {
        name: "sign",
        about: "",
        examples: [],
        options: [{ flags: "--key <name>", about: "" }],
        run: async () => ({}),
      },
    ],
  },
  { name: "agent", about: "", commands: [] },
];

async function run(text: string | null, words: readonly string[], env: { [name: string]: string } = {}) {
  const file = join(home, ".config/upkeep/config.toml");
  await rm(file, { force: true });
  if (text !== null) await writeFile(file, text, { mode: 0o600 });
  let err = "";
  const terminal = {
    stdout: { write: () => {} },
    stderr: { write: (more: string) => (err += more) },
    stdin: process.stdin,
    env,
    home,
  };
  const load = () => loadSettings(table, terminal, systemDisk);
  return { exit: await runProgram({ table, version: "1", load }, words, terminal), err };
}

describe("a flag that begins with no", () => {
  it("is a flag like others, false until it is given", async () => {
    await run(null, ["sign", "--cert", "a"]);
    assert.equal(call.flag("no-delta"), false);
    await run(null, ["sign", "--cert", "a", "--no-delta"]);
    assert.equal(call.flag("no-delta"), true);
  });
});

const GOOD = `
data = "~/fleet"
[sign]
service = "./service.json"
cert = "release"
timestamp = true
jobs = 8
add-cert = ["a.pem", "../b.pem"]
[repo.sign]
key = "alice"
`;

describe("the settings file", () => {
  it("says what need not be typed", async () => {
    assert.deepEqual(await run(GOOD, ["sign"]), { exit: 0, err: "" });
    assert.equal(call.needed("cert"), "release");
    assert.equal(call.flag("timestamp"), true);
    assert.equal(call.whole("jobs", 1, 9), 8);
    assert.equal(call.text("service"), join(home, ".config/upkeep/service.json"));
    assert.deepEqual(call.list("add-cert"), ["a.pem", join(home, ".config/b.pem")]);
    assert.equal(call.context.data, join(home, "fleet"));
  });

  it("comes after the command line and after the environment", async () => {
    const words = ["sign", "--cert", "other", "--add-cert", "x.pem", "--add-cert", "y.pem", "--data", home];
    assert.deepEqual(await run(GOOD, words, { UPKEEP_SERVICE: "/elsewhere" }), { exit: 0, err: "" });
    assert.equal(call.needed("cert"), "other");
    assert.deepEqual(call.list("add-cert"), ["x.pem", "y.pem"]);
    assert.equal(call.text("service"), undefined, "left to the command, which asks the environment");
    assert.equal(call.context.data, home);
    assert.equal((await run(GOOD, ["sign"], { UPKEEP_DATA: "/from-env" })).exit, 0);
    assert.equal(call.context.data, "/from-env");
  });

  it("need not exist, unless it is named", async () => {
    assert.equal((await run(null, ["sign", "--cert", "x"])).exit, 0);
    const named = await run(null, ["sign", "--cert", "x"], { UPKEEP_CONFIG: join(home, "none.toml") });
    assert.equal(named.exit, 2);
    assert.match(named.err, /cli\/bad-settings.*none\.toml:1: it is not there/);
  });

  for (const [what, text, said] of [
    ["no TOML", "[sign\n", /config\.toml:1: /],
    ["an option that does not exist", '[sign]\n\nservise = "x"\n', /:3: sign\.servise: there is no option/],
    ["a command that does not exist", "[repo.sing]\n", /:1: repo\.sing: there is no command/],
    ["an unknown word at the top", 'colour = "red"\n', /:1: colour: there is no option/],
    ["a switch that is text", '[sign]\ntimestamp = "yes"\n', /:2: sign\.timestamp: expected true or false/],
    ["text that is a date", "[sign]\ncert = 2026-01-01\n", /:2: sign\.cert: expected text/],
    ["a word that is none of the choices", '[sign]\nhash = "md5"\n', /:2: sign\.hash: expected one of/],
    ["consent", "[sign]\nyes = true\n", /:2: sign\.yes: this is said each time/],
    [
      "settings for a device",
      '[agent.run]\nserver = "https://evil.example"\n',
      /agent: a device takes no settings/,
    ],
    ["a command that is no table", 'sign = "x"\n', /:1: sign: it is a command/],
  ] as const)
    it(`is refused for ${what}, with its line`, async () => {
      const { exit, err } = await run(text, ["sign", "--cert", "x"]);
      assert.equal(exit, 2);
      assert.match(err, said);
    });

  it("that others may write is refused", async () => {
    const file = join(home, "shared.toml");
    await writeFile(file, GOOD);
    await chmod(file, 0o664);
    const { exit, err } = await run(null, ["sign"], { UPKEEP_CONFIG: file });
    assert.equal(exit, 2);
    assert.match(err, /others may write it/);
  });

  it("knows the real commands", async () => {
    const file = join(home, "real.toml");
    await writeFile(
      file,
      '[sign]\nservice = "~/service.json"\nidentity = "~/build.pem"\n[service.pending]\nuser = "alice"\n',
      { mode: 0o600 },
    );
    const settings = await loadSettings(TABLE, { env: { UPKEEP_CONFIG: file }, home }, systemDisk);
    assert.equal(settings?.of(["service", "pending"], "user"), "alice");
  });
});
