// What a server issues from and believes, when keys are missing or its own notes are damaged.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { spkiDigest } from "../../identity/authority.ts";
import {
  firstBundle,
  moveAuthority,
  serialiseTrustBundle,
  withPrepared,
} from "../../identity/trust-bundle.ts";
import { scriptedRandom } from "../../testing/agent-world.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { authorityKeys, spareAuthority, type AuthorityTools } from "./authorities.ts";
import { openTrust } from "./trust.ts";

const folder = "/data/server/tls";

async function world() {
  const tools: AuthorityTools = {
    disk: new MemoryDisk(),
    random: scriptedRandom(),
    clock: new ScriptedClock(),
  };
  const trust = await openTrust(folder, tools);
  const first = firstBundle(trust.server.certificate, trust.device.certificate);
  const listed = new Set(first.authorities.map(({ spkiSha256 }) => spkiSha256));
  const spare = await spareAuthority(folder, "device", listed, tools);
  const prepared = withPrepared(first, "device", spare.certificate);
  const pin = spkiDigest(spare.certificate.spki);
  return { tools, trust, first, prepared, pin, spare, listed };
}

describe("the trust of a server", () => {
  it("is its first pair of authorities until a bundle says otherwise", async () => {
    const { trust } = await world();
    assert.deepEqual([trust.seq, trust.sha256, trust.missing], [0, null, []]);
    assert.equal(trust.believed.length, 1);
    assert.equal(trust.isRevoked(spkiDigest(trust.device.certificate.spki)), false);
  });

  it("moves with the bundle: what issues, what is believed, what is only known", async () => {
    const { trust, prepared, pin, tools } = await world();
    const old = spkiDigest(trust.device.certificate.spki);
    assert.equal(await trust.take(serialiseTrustBundle(prepared)), true);
    assert.equal(spkiDigest(trust.device.certificate.spki), old);
    assert.equal(trust.believed.length, 2);
    const activated = moveAuthority(prepared, "activate", pin);
    await trust.take(serialiseTrustBundle(activated));
    assert.equal(spkiDigest(trust.device.certificate.spki), pin);
    await trust.take(serialiseTrustBundle(moveAuthority(activated, "revoke", old)));
    assert.deepEqual([trust.believed.length, trust.known.length], [1, 2]);
    assert.deepEqual([trust.isRevoked(old), trust.isRevoked(pin)], [true, false]);
    const again = await openTrust(folder, tools);
    assert.deepEqual([again.seq, again.isRevoked(old)], [4, true], "over a restart");
    assert.equal(spkiDigest(again.device.certificate.spki), pin);
  });

  it("makes nothing anew where a part of it is lost: every device and token would be shut out", async () => {
    for (const lost of [
      ["device-ca.key.json", "device-ca.crt.pem"],
      ["server-ca.key.json", "server-ca.crt.pem"],
      ["device-ca.key.json"],
      ["server-ca.key.json"],
    ]) {
      const { tools } = await world();
      for (const name of lost) await tools.disk.removeFile(`${folder}/${name}`);
      const before = await tools.disk.list(folder);
      await assert.rejects(openTrust(folder, tools), { code: "identity/authority-lost" }, lost.join());
      assert.deepEqual(await tools.disk.list(folder), before);
    }
  });

  it("goes on issuing from the authority before when the active one's key is not here, and says so", async () => {
    const { trust, prepared, pin, tools } = await world();
    await tools.disk.removeFile(`${folder}/device-ca-2.key.json`);
    const before = trust.device;
    await trust.take(serialiseTrustBundle(moveAuthority(prepared, "activate", pin)));
    assert.equal(trust.device, before);
    assert.deepEqual(trust.missing, [`device ${pin}`]);
  });

  it("does not start on damaged notes, for that could believe what was revoked (fail closed)", async () => {
    const { trust, first, tools } = await world();
    await trust.take(serialiseTrustBundle(first));
    const file = await tools.disk.open(`${folder}/bundle.json`, "write", 0o600);
    await file.truncate(200);
    await file.close();
    await assert.rejects(openTrust(folder, tools), { code: "identity/bad-bundle" });
    await tools.disk.removeFile(`${folder}/bundle.json`);
    assert.equal((await openTrust(folder, tools)).seq, 0);
  });

  it("prepares one authority at a time: what an earlier try left behind is used", async () => {
    const { tools, listed, pin, spare } = await world();
    const again = await spareAuthority(folder, "device", listed, tools);
    assert.equal(spkiDigest(again.certificate.spki), pin);
    const third = await spareAuthority(folder, "device", new Set([...listed, pin]), tools);
    assert.notEqual(spkiDigest(third.certificate.spki), pin);
    const names = (await authorityKeys(folder, tools)).map(
      ({ certificate }) => certificate.subject.attributes[0]!.value,
    );
    assert.deepEqual(names.toSorted(), [
      "Upkeep device authority",
      "Upkeep device authority 2",
      "Upkeep device authority 3",
      "Upkeep server authority",
    ]);
    assert.ok(spare.certificate.notAfter > tools.clock.now());
  });
});
