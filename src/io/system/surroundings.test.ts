// What this machine says of itself: read from files as the kernel writes them.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import {
  batteryLeft,
  defaultInterfaces,
  idleSeconds,
  meteredWord,
  systemSurroundings,
} from "./surroundings.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-machine-"));
after(() => rmSync(folder, { recursive: true }));

function supply(set: string, name: string, files: Readonly<Record<string, string>>): string {
  const place = join(folder, set, name);
  mkdirSync(place, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(place, file), `${text}\n`);
  return join(folder, set);
}

describe("the power of a machine", () => {
  it("is the least of its batteries while they are discharged", async () => {
    supply("laptop", "BAT0", { type: "Battery", status: "Discharging", capacity: "71" });
    supply("laptop", "BAT1", { type: "Battery", status: "Discharging", capacity: "12" });
    assert.equal(await batteryLeft(supply("laptop", "AC", { type: "Mains", online: "0" })), 12);
  });

  it("is that of the mains where they are connected, or where there is no battery", async () => {
    supply("desk", "BAT0", { type: "Battery", status: "Discharging", capacity: "71" });
    assert.equal(await batteryLeft(supply("desk", "AC", { type: "Mains", online: "1" })), null);
    assert.equal(await batteryLeft(join(folder, "nothing")), null);
    assert.equal(
      await batteryLeft(supply("full", "BAT0", { type: "Battery", status: "Full", capacity: "100" })),
      null,
    );
  });

  it("is not that of a mouse", async () => {
    const mouse = { type: "Battery", scope: "Device", status: "Discharging", capacity: "3" };
    assert.equal(await batteryLeft(supply("mouse", "hid", mouse)), null);
  });
});

describe("the link of a machine", () => {
  it("goes over the interfaces that have a default route", () => {
    const ipv4 =
      "Iface\tDestination\tGateway\tFlags\nwwan0\t00000000\t0101A8C0\t0003\neth0\t0000A8C0\t00000000\t0001\ndown0\t00000000\t0\t0002\n";
    const ipv6 = `${"0".repeat(32)} 00 ${"0".repeat(32)} 00 fe80 00000400 1 0 00000003 wlan0\n${"0".repeat(32)} 00 ${"0".repeat(32)} 00 0 ffffffff 1 0 00200200 lo\n`;
    assert.deepEqual(defaultInterfaces(ipv4, ipv6), ["wwan0", "wlan0"]);
    assert.deepEqual(defaultInterfaces(null, null), []);
  });

  it("is metered as NetworkManager says, guessed or known", () => {
    assert.deepEqual(["u 0", "u 1", "u 2", "u 3", "u 4\n", "", "u 7"].map(meteredWord), [
      null,
      true,
      false,
      true,
      false,
      null,
      null,
    ]);
  });

  it("is metered as the owner says", async () => {
    assert.equal(await systemSurroundings.metered("always"), true);
    assert.equal(await systemSurroundings.metered("never"), false);
  });
});

describe("the input of people", () => {
  it("is the last one at any terminal; a machine without terminals cannot tell", async () => {
    const dev = join(folder, "dev");
    mkdirSync(join(dev, "pts"), { recursive: true });
    assert.equal(await idleSeconds(dev), null);
    for (const [name, ago] of [
      ["tty1", 900],
      ["pts/0", 60],
    ] as const) {
      writeFileSync(join(dev, name), "");
      const at = new Date(Date.now() - ago * 1000);
      utimesSync(join(dev, name), at, at);
    }
    writeFileSync(join(dev, "pts/ptmx"), "");
    const idle = await idleSeconds(dev);
    assert.ok(idle !== null && idle >= 60 && idle < 70, String(idle));
  });
});

describe("the machine itself", () => {
  it("has an uptime that goes on, in whole milliseconds, under one name of the boot", async () => {
    const [a, b] = [await systemSurroundings.uptime(), await systemSurroundings.uptime()];
    assert.equal(a.boot, b.boot);
    assert.ok(Number.isInteger(a.ms) && b.ms >= a.ms);
  });

  it("runs an executable without a shell, and ends it when its time is over", async () => {
    const run = (...command: string[]) =>
      systemSurroundings.run({ command, env: { WORD: "x" }, timeoutMs: 500 });
    assert.deepEqual(await run("/bin/sh", "-c", "echo $WORD; exit 75"), {
      kind: "exit",
      code: 75,
      output: "x\n",
    });
    assert.deepEqual(await run("/bin/sleep", "20"), { kind: "timeout" });
    const missing = await run("/nowhere/at/all");
    assert.equal(missing.kind === "exit" && missing.code === 127, true, JSON.stringify(missing));
  });

  it("knows whether the process of a lock lives", async () => {
    assert.equal(
      await systemSurroundings.lives({ pid: process.pid, startTime: "1" }),
      false,
      "another process of that number",
    );
  });
});
