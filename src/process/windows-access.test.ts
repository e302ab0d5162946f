// Access lists of Windows: what is private, and everything that only looks like it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { serviceSid } from "./service-definition.ts";
import { accessOf, folderSecurity, isPrivate, ownSecurity, strangersInFolder } from "./windows-access.ts";

const ME = "S-1-5-21-1-2-3-1001";
const OTHER = "S-1-5-21-1-2-3-1002";
const SIGNER = serviceSid("upkeep-signer");
const GATEWAY = serviceSid("upkeep-gateway");
const list = (...who: readonly string[]): string =>
  `O:${ME}G:${ME}D:PAI${who.map((sid) => `(A;;FA;;;${sid})`).join("")}`;
const fits = (sddl: string, self = ME): boolean => {
  const access = accessOf(sddl);
  return access !== null && isPrivate(access, self);
};

describe("who may use a file on Windows", () => {
  it("is private for its owner, the system and administrators", () => {
    assert.ok(fits(list("SY", "BA", ME)));
    assert.ok(fits(list("S-1-5-18", "S-1-5-32-544", "LA")));
    assert.ok(fits(`O:BAD:AI(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;FA;;;${ME})`));
    assert.ok(fits(`O:BA${ownSecurity(ME, "file")}`));
  });

  it("is not private when anybody else is let in, with whatever right", () => {
    for (const who of ["WD", "BU", "AU", "IU", "AN", "S-1-1-0", "S-1-5-11", OTHER])
      assert.ok(!fits(`O:${ME}D:(A;;0x1;;;${who})`), who);
  });

  it("is not private by an entry that is only passed on", () => {
    assert.ok(!fits(`O:${ME}D:(A;OICIIO;FR;;;BU)`));
  });

  it("is private for one service of ours in its folder, not for two, and not between services", () => {
    assert.ok(fits(list("SY", "BA", SIGNER)));
    assert.ok(!fits(list("SY", "BA", SIGNER, GATEWAY)));
    assert.ok(fits(list("SY", "BA", SIGNER), SIGNER));
    assert.ok(!fits(list("SY", "BA", SIGNER, GATEWAY), SIGNER));
    assert.ok(!fits(list("SY", serviceSid("Spooler"))));
  });

  it("counts an entry that denies as letting nobody in", () => {
    assert.ok(fits(`O:${ME}D:(D;;FA;;;WD)(A;;FA;;;${ME})`));
  });

  it("is not private when nothing, or nothing that is understood, says so", () => {
    for (const sddl of [
      "",
      `O:${ME}`,
      `O:${ME}D:NO_ACCESS_CONTROL`,
      `D:P(A;;FA;;;SY)`,
      `O:${ME}D:P(A;;FA;;;SY`,
      `O:${ME}D:P(XA;;FA;;;WD;(Member_of {SID(BA)}))`,
      `O:${ME}D:P(OA;;FA;;;WD)`,
      `O:${ME}D:P(A;;FA;;)`,
      `O:${ME}D:P(A;;FA;;;SY)S:(AU;SA;FA;;;WD)`,
      `O:${ME}D:Q(A;;FA;;;SY)`,
    ])
      assert.ok(!fits(sddl), sddl);
  });

  it("gives a service's folder to that service, the system and administrators alone", () => {
    const access = accessOf(folderSecurity("upkeep-signer"));
    assert.ok(access !== null);
    assert.deepEqual(strangersInFolder(access, "upkeep-signer"), []);
    assert.deepEqual(strangersInFolder(access, "upkeep-gateway"), [SIGNER]);
  });

  it("counts the owner of a service's folder as one who may use it", () => {
    const access = accessOf(folderSecurity("upkeep-signer").replace("O:BA", `O:${OTHER}`));
    assert.deepEqual(strangersInFolder(access!, "upkeep-signer"), [OTHER]);
  });
});
