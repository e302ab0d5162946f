// What kind a release says it is: a closed list, coherent with the rest of the manifest, and never passed over by a device that does not know it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { KNOWN_FEATURES } from "../core/features.ts";
import type { Json } from "../core/json.ts";
import { sampleManifest } from "./_sample.ts";
import { kindOf, needsOfKind, programsOfKind, type ComponentKind } from "./component-kind.ts";
import { parseRelease, serialiseRelease, type ReleaseManifest } from "./manifest.ts";

/** A manifest of this kind; a member of `changes` that is undefined is left out. */
function release(component: ComponentKind, changes: { [name: string]: unknown } = {}): ReleaseManifest {
  const { entryPoint: _, health: __, ...rest } = sampleManifest();
  const all = { ...rest, component, ...needsOfKind(component), ...changes };
  return Object.fromEntries(
    Object.entries(all).filter(([, value]) => value !== undefined),
  ) as ReleaseManifest;
}
const read = (manifest: unknown, known?: readonly string[]): ReleaseManifest =>
  parseRelease(toUtf8(JSON.stringify(manifest as Json)), known);

const COMMAND: ComponentKind = { kind: "command", programs: [{ name: "shopctl", path: "bin/shopctl" }] };
const SIGNAL: ComponentKind = {
  kind: "data",
  reload: { kind: "signal", product: "till", signal: "SIGHUP", settleSeconds: 2 },
};
const HANDLER: ComponentKind = { kind: "handler", handler: "debian-package", file: "shop.deb" };
const ADDON: ComponentKind = { kind: "data", extends: "maps" };
const MAPS = [{ product: "maps", range: "*" }];

describe("the kind of a component", () => {
  it("comes back from the manifest as it was signed", () => {
    for (const component of [COMMAND, SIGNAL, HANDLER])
      assert.deepEqual(read(JSON.parse(new TextDecoder().decode(serialiseRelease(release(component))))), {
        ...release(component),
      });
    assert.equal(read(release(ADDON, { dependencies: MAPS })).component?.kind, "data");
  });

  it("is a service or data for a release that names none", () => {
    const { entryPoint, ...data } = sampleManifest();
    assert.deepEqual([kindOf({ entryPoint: entryPoint! }), kindOf({})], ["service", "data"]);
    assert.equal(data.component, undefined);
    assert.deepEqual(programsOfKind(COMMAND), ["bin/shopctl"]);
    assert.deepEqual(programsOfKind(SIGNAL), []);
  });

  it("is refused by a device from before kinds, which learns the version that it needs", () => {
    const before = KNOWN_FEATURES.filter((word) => word !== "component-kinds");
    assert.throws(
      () => read(release(COMMAND), before),
      (error: { code: string; message: string }) =>
        error.code === "growth/needs-newer" && error.message.includes("0.1.0"),
    );
  });

  /** What is wrong, and a manifest that has it. */
  const WRONG: readonly (readonly [string, object, string])[] = [
    ["a kind that nobody knows", release({ kind: "firmware" } as unknown as ComponentKind), "schema/invalid"],
    [
      "a member that the kind does not have",
      release({ ...ADDON, as: "alps" } as ComponentKind),
      "schema/invalid",
    ],
    [
      "no need of the feature, so that an old device would pass over it",
      release(COMMAND, { needs: undefined }),
      "release/bad-kind",
    ],
    [
      "a need of something else only",
      release(COMMAND, { needs: { features: ["follow-until"], version: "0.1.0" } }),
      "release/bad-kind",
    ],
    ["a service without an entry point", release({ kind: "service" }), "release/bad-kind"],
    [
      "a command that is started as well",
      { ...sampleManifest(), component: COMMAND, ...needsOfKind(COMMAND) },
      "release/bad-kind",
    ],
    [
      "a program outside of the slot",
      release({ kind: "command", programs: [{ name: "sh", path: "../../bin/sh" }] }),
      "schema/invalid",
    ],
    [
      "a name of a command with a folder in it",
      release({ kind: "command", programs: [{ name: "../ls", path: "bin/ls" }] }),
      "schema/invalid",
    ],
    [
      "two programs of one name",
      release({
        kind: "command",
        programs: [
          { name: "a", path: "a" },
          { name: "A", path: "b" },
        ],
      }),
      "schema/invalid",
    ],
    ["no program at all", release({ kind: "command", programs: [] }), "schema/invalid"],
    [
      "a signal that ends programs",
      release({ kind: "data", reload: { ...SIGNAL.reload, signal: "SIGKILL" } } as unknown as ComponentKind),
      "schema/invalid",
    ],
    [
      "a signal to itself",
      release({
        kind: "data",
        reload: { kind: "signal", product: "shop", signal: "SIGHUP", settleSeconds: 1 },
      }),
      "release/bad-kind",
    ],
    ["an extension of what it does not depend on", release(ADDON), "release/bad-kind"],
    [
      "an extension of itself",
      release({ kind: "data", extends: "shop" }, { dependencies: [{ product: "shop", range: "*" }] }),
      "release/bad-kind",
    ],
    [
      "a handler's file outside of the slot",
      release({ kind: "handler", handler: "raw", file: "/etc/passwd" }),
      "schema/invalid",
    ],
  ];
  for (const [what, manifest, code] of WRONG)
    it(`refuses ${what}`, () => {
      assert.throws(() => read(manifest), { code });
    });
});
