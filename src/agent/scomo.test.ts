// The device in the words of OMA SCOMO: inventories, status values, and a result code for each of our codes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { EFFECTS, type AttemptState } from "./attempt-table.ts";
import { AGENT_ERRORS } from "./errors.ts";
import { MIRROR_ERRORS } from "../mirror/errors.ts";
import { PROCESS_ERRORS } from "../process/errors.ts";
import { RELEASE_ERRORS } from "../release/errors.ts";
import { REPOSITORY_ERRORS } from "../repository/errors.ts";
import { SLOT_ERRORS } from "../slot/errors.ts";
import { SCOMO_RESULT, scomoResult, scomoTree } from "./scomo.ts";
import type { ComponentStatus } from "./status.ts";

const shop: ComponentStatus = {
  product: "shop",
  running: "1.0.0",
  committed: "1.0.0",
  floor: null,
  pid: 7,
  attempt: null,
  fetched: null,
  damage: null,
  recalled: null,
  why: "It runs.",
  until: null,
  wait: null,
  code: null,
  skipped: [],
};
const trying = (state: AttemptState): ComponentStatus => ({
  ...shop,
  attempt: { to: "1.1.0", state, bytes: 5, length: 10 },
});

describe("SCOMO", () => {
  it("shows an installed component that runs as active and idle, with success", () => {
    const { deployed, download, delivered } = scomoTree([shop]);
    assert.deepEqual(deployed, [
      {
        id: "shop",
        pkgIdRef: "shop/1.0.0",
        version: "1.0.0",
        status: 10,
        state: 20,
        resultCode: 1200,
        code: null,
      },
    ]);
    assert.deepEqual([download, delivered], [[], []]);
  });

  it("shows one that does not run as inactive, and nothing where nothing was installed", () => {
    assert.equal(scomoTree([{ ...shop, running: null }]).deployed[0]!.state, 10);
    assert.deepEqual(scomoTree([{ ...shop, running: null, committed: null }]).deployed, []);
  });

  it("shows an attempt as the package that it is at each moment", () => {
    const at = (state: AttemptState): unknown => {
      const { download, delivered, deployed } = scomoTree([trying(state)]);
      return [download[0]?.status, delivered[0]?.status, delivered[0]?.state, deployed[0]!.status];
    };
    assert.deepEqual(at("downloading"), [30, undefined, undefined, 10]);
    assert.deepEqual(at("verifying"), [40, undefined, undefined, 10]);
    assert.deepEqual(at("staging"), [undefined, 40, 10, 10]);
    assert.deepEqual(at("activating"), [undefined, 10, 20, 50]);
    assert.deepEqual(at("probation"), [undefined, 10, 20, 50]);
    assert.deepEqual(at("rolling-back"), [undefined, 50, 20, 70]);
    for (const state of Object.keys(EFFECTS) as AttemptState[]) {
      const [first] = [...scomoTree([trying(state)]).download, ...scomoTree([trying(state)]).delivered];
      assert.ok(first === undefined || first.pkgId === "shop/1.1.0", state);
    }
  });

  it("says how the last operation failed, by its number beside our code", () => {
    const one = (code: string) => scomoTree([{ ...shop, code }]).deployed[0]!;
    assert.deepEqual([one("process/unhealthy").resultCode, one("process/unhealthy").status], [1409, 40]);
    assert.deepEqual([one("mirror/slow").resultCode, one("mirror/slow").status], [1402, 10]);
    assert.equal(one("mirror/slow").code, "mirror/slow");
  });

  it("tells apart what an operator must tell apart", () => {
    for (const [code, result] of [
      [null, SCOMO_RESULT.success],
      ["mirror/unreachable", SCOMO_RESULT.downloadFailed],
      ["mirror/wrong-content", SCOMO_RESULT.packageInvalid],
      ["repository/unsigned", SCOMO_RESULT.downloadNotAuthentic],
      ["artifact/foreign-architecture", SCOMO_RESULT.environmentNotSupported],
      ["agent/no-space", SCOMO_RESULT.noRoomToDownload],
      ["disk/full", SCOMO_RESULT.noRoomToInstall],
      ["slot/unsafe-entry", SCOMO_RESULT.packageInvalid],
      ["process/will-not-stop", SCOMO_RESULT.deactivateFailed],
      ["server/unreachable", SCOMO_RESULT.serverUnavailable],
      ["agent/rolled-back-by-hand", SCOMO_RESULT.userCancelled],
      ["nonsense", SCOMO_RESULT.undefined],
      ["other/code", SCOMO_RESULT.undefined],
    ] as const)
      assert.equal(scomoResult(code), result, String(code));
  });

  it("has a number other than `undefined` for every code of the rooms that an update goes through", () => {
    const tables = [
      AGENT_ERRORS,
      MIRROR_ERRORS,
      PROCESS_ERRORS,
      RELEASE_ERRORS,
      REPOSITORY_ERRORS,
      SLOT_ERRORS,
    ];
    for (const code of tables.flatMap((table) => Object.keys(table)))
      assert.notEqual(scomoResult(code), SCOMO_RESULT.undefined, code);
  });
});
