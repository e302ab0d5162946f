// What a publisher writes on the command line about the kind of a component, and what the manifest says then.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { NewArtifact } from "../../../repository/publish/release-publisher.ts";
import type { ReleaseManifest } from "../../../release/manifest.ts";
import type { Call } from "../../framework/command.ts";
import { kindWish } from "./kind-options.ts";
import { settingsOf } from "./settings.ts";

type Options = { readonly [name: string]: string | readonly string[] | true };
const notes: string[] = [];
const callOf = (options: Options): Call =>
  ({
    text: (name: string) => (typeof options[name] === "string" ? options[name] : undefined),
    list: (name: string) => (Array.isArray(options[name]) ? options[name] : []),
    flag: (name: string) => options[name] === true,
    whole: () => undefined,
    needed: (name: string) => {
      if (typeof options[name] !== "string") throw Object.assign(new Error(name), { code: "cli/usage" });
      return options[name];
    },
    context: { note: (text: string) => notes.push(text) },
  }) as unknown as Call;
const FILE = [{ format: "file" }] as unknown as readonly NewArtifact[];
const FOLDER = [{ format: "tar.gz" }] as unknown as readonly NewArtifact[];
const wish = (options: Options, artifacts = FOLDER) => kindWish(callOf(options), "shop", artifacts);

describe("the kind on the command line", () => {
  it("is said by its own options, or by --kind", () => {
    assert.equal(wish({}), null);
    assert.deepEqual(wish({ command: ["bin/ctl", "report=lib/report.sh", "./bin/x"] })?.component, {
      kind: "command",
      programs: [
        { name: "ctl", path: "bin/ctl" },
        { name: "report", path: "lib/report.sh" },
        { name: "x", path: "bin/x" },
      ],
    });
    assert.deepEqual(wish({ kind: "command" }, FILE)?.component, {
      kind: "command",
      programs: [{ name: "shop", path: "shop" }],
    });
    assert.deepEqual(wish({ extends: "maps", reload: "watch" })?.component, {
      kind: "data",
      reload: { kind: "watch" },
      extends: "maps",
    });
    const reload = { kind: "signal", product: "till", signal: "SIGUSR1", settleSeconds: 2 };
    assert.deepEqual(wish({ reload: "signal:till:SIGUSR1" })?.component, { kind: "data", reload });
    const command = { kind: "command", command: ["bin/notify", "--all"], timeoutSeconds: 30 };
    assert.deepEqual(wish({ reload: "command:./bin/notify  --all" })?.component, {
      kind: "data",
      reload: command,
    });
    assert.deepEqual(wish({ handler: "raw-image", "handler-setting": ["boot=once=1"] }, FILE)?.component, {
      kind: "handler",
      handler: "raw-image",
      file: "shop",
      settings: { boot: "once=1" },
    });
  });

  it("has no member of its own for plain services and plain data, which all devices install rightly", () => {
    assert.deepEqual(wish({ kind: "service" }), { kind: "service", component: undefined });
    assert.deepEqual(wish({ kind: "data" }), { kind: "data", component: undefined });
  });

  /** Options that make no sense. */
  const WRONG: readonly Options[] = [
    { command: ["bin/ctl"], reload: "watch" },
    { kind: "service", handler: "deb" },
    { kind: "command", run: "bin/ctl" },
    { kind: "command" },
    { kind: "handler", "handler-file": "x" },
    { kind: "handler", handler: "deb" },
    { reload: "signal:shop:SIGKILL" },
    { reload: "shell:rm" },
    { handler: "deb", "handler-file": "x", "handler-setting": ["nothing"] },
  ];
  for (const options of WRONG)
    it(`is refused for ${JSON.stringify(options)}`, () => {
      assert.throws(() => wish(options), { code: "cli/usage" });
    });

  it("is as in the release before where nothing is said, until it is run", async () => {
    const component = { kind: "command", programs: [{ name: "ctl", path: "bin/ctl" }] } as const;
    const earlier = { version: "1.0.0", component } as unknown as ReleaseManifest;
    const settings = await settingsOf(callOf({}), "shop", FOLDER, earlier);
    assert.deepEqual([settings.component, settings.entryPoint], [component, undefined]);
    assert.match(notes.at(-1)!, /as in shop 1\.0\.0: kind/);
    const run = await settingsOf(callOf({ run: "bin/shop" }), "shop", FOLDER, earlier);
    assert.deepEqual([run.component, run.entryPoint], [undefined, { command: ["bin/shop"] }]);
    const data = await settingsOf(callOf({ "data-only": true }), "shop", FOLDER, earlier);
    assert.equal(data.component, undefined);
    await assert.rejects(settingsOf(callOf({ "data-only": true, kind: "command" }), "shop", FILE, null), {
      code: "cli/usage",
    });
  });
});
