// A real device in trouble of its own: what is installed runs all the same, updates wait with the reason, and go on by themselves.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, Site, type Json } from "./_agent.ts";

let site: Site;
let minor = 0;
before(async () => {
  site = await Site.create();
  site.publish("1.0.0");
  await site.startServer();
});
after(() => site.remove());

/** What a reboot leaves: neither agent nor components. */
async function reboot(): Promise<void> {
  await site.stopAgent("SIGKILL");
  for (const pid of site.services()) process.kill(pid, "SIGKILL");
  await eventually("nothing runs", () => (site.services().length === 0 ? true : null));
}

const notices = (): string => JSON.stringify(site.status()["notices"]);

describe("a device after a reboot", () => {
  before(() => {
    site.enroll();
    writeFileSync(join(site.device, "agent.toml"), "startSpread = 0\n");
    assert.equal(site.update().status, 0);
  });

  for (const [what, file, damage] of [
    ["a slip in agent.toml", "agent.toml", (text: string) => `${text}\n[components.shop\n`],
    ["a damaged identity", "identity/device.pem", (text: string) => text.slice(0, 300)],
  ] as const) {
    it(`runs what is installed in spite of ${what}, says why nothing is updated, and goes on once that is mended`, async () => {
      const path = join(site.device, file);
      const good = readFileSync(path, "utf8");
      const from = `1.${minor}.0`;
      await reboot();
      writeFileSync(path, damage(good));
      site.startAgent();
      await site.until(from);
      const version = `1.${++minor}.0`;
      site.publish(version);
      await eventually("the status says why", () =>
        notices().includes("What is installed runs") ? true : null,
      );
      assert.match(notices(), new RegExp(file.replace("identity/", "")));
      const ran = site.update();
      assert.notEqual(ran.status, 0);
      assert.match(
        String((ran.json["failure"] as Json)["code"]),
        /^agent\/(?:bad-settings|damaged-identity)$/,
      );
      assert.equal(await site.ask(), from);
      writeFileSync(path, good);
      await site.until(version);
      assert.equal(site.services().length, 1);
      await site.stopAgent();
    });
  }
});

const root = process.getuid?.() === 0 && process.platform === "linux";
describe(
  "a data folder on a volume that is mounted noexec",
  { skip: root ? false : "only root can mount a volume" },
  () => {
    it("makes an update wait and name the mount; the old version runs on, and nothing is skipped", async (t) => {
      const volume = site.device;
      await reboot();
      rmSync(volume, { recursive: true, force: true });
      mkdirSync(volume);
      if (spawnSync("mount", ["-t", "tmpfs", "tmpfs", volume]).status !== 0)
        return t.skip("this machine mounts nothing for us");
      const remount = (how: string): void => {
        const { status, stderr } = spawnSync("mount", ["-o", `remount,${how}`, volume], { encoding: "utf8" });
        assert.equal(status, 0, stderr);
      };
      try {
        site.enroll();
        const from = `1.${minor}.0`;
        assert.equal(site.updateTo(from).status, 0);
        await site.until(from);
        remount("noexec");
        const version = `1.${++minor}.0`;
        site.publish(version);
        const waits = site.updateTo(version);
        assert.match(waits.stdout, /process\/cannot-start.*is mounted noexec/s);
        assert.doesNotMatch(waits.stdout, /rolled-back/);
        assert.equal(await site.ask(), from);
        remount("exec");
        const ran = site.update();
        assert.equal(ran.status, 0, ran.stdout + ran.stderr);
        await site.until(version);
      } finally {
        for (const pid of site.services()) process.kill(pid, "SIGKILL");
        spawnSync("umount", ["-l", volume]);
      }
    });
  },
);
