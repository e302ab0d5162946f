// Both authorities are replaced by the operator's commands, while a server and an agent run; another device is off all the time.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { eventually, Site, type Json } from "./_agent.ts";

type Row = {
  readonly kind: string;
  readonly state: string;
  readonly spkiSha256: string;
  readonly keyHere: boolean;
};

describe("a rotation of both authorities", { timeout: 180_000 }, () => {
  let site: Site;
  let away: string;
  before(async () => {
    site = await Site.create();
    await site.startServer();
    site.enroll();
    away = join(site.folder, "away");
    enrollAt(away);
    assert.equal(checkAt(away)["failure"], null);
    site.startAgent();
    await eventually("the agent checks", () => (site.agentLog.includes("agent/check") ? true : null));
  });
  after(() => site.remove());

  function enrollAt(folder: string): void {
    const { token } = JSON.parse(site.ok(site.upkeep(site.operator, "token", "new", "--json")).stdout) as {
      token: string;
    };
    const file = join(site.folder, "token");
    writeFileSync(file, `${token}\n`, { mode: 0o600 });
    const server = `127.0.0.1:${site.serverPort}`;
    site.ok(site.upkeep(folder, "agent", "enroll", "--server", server, "--token-file", file));
  }

  function checkAt(folder: string): Json {
    const ran = site.upkeep(folder, "agent", "update", "--json");
    assert.notEqual(ran.stdout, "", ran.stderr);
    return JSON.parse(ran.stdout) as Json;
  }

  /** One command of `ca`, and the server that has followed it. */
  async function ca(...words: string[]): Promise<readonly Row[]> {
    site.serverLog = "";
    const ran = site.ok(site.upkeep(site.operator, "ca", ...words, "--json"));
    await eventually("the server follows", () =>
      site.serverLog.includes("server/authorities-changed") ? true : null,
    );
    return (JSON.parse(ran.stdout) as { authorities: readonly Row[] }).authorities;
  }

  const keyOf = (rows: readonly Row[], kind: string, state: string): string =>
    rows.find((row) => row.kind === kind && row.state === state)!.spkiSha256;
  const issuerAt = (folder: string): string => {
    const pem = readFileSync(join(folder, "identity/device.pem"), "utf8");
    return new X509Certificate(pem.slice(pem.indexOf("-----BEGIN CERTIFICATE"))).issuer;
  };
  const idAt = (folder: string): string => readFileSync(join(folder, "identity/identity.json"), "utf8");
  /** A check of the running agent. */
  const check = (): void => {
    assert.equal(checkAt(site.device)["failure"], null);
  };

  it("leaves a running agent connected and enrolled through prepare, activate, taint and revoke", async () => {
    const id = idAt(site.device);
    await ca("prepare", "server");
    const rows = await ca("prepare", "device");
    assert.deepEqual(
      rows.map(({ kind, state, keyHere }) => `${kind} ${state} ${keyHere}`),
      ["server active true", "server prepared true", "device active true", "device prepared true"],
    );
    check();
    const old = { server: keyOf(rows, "server", "active"), device: keyOf(rows, "device", "active") };
    await ca("activate", keyOf(rows, "server", "prepared").slice(0, 8));
    await ca("activate", keyOf(rows, "device", "prepared"));
    check();
    assert.match(issuerAt(site.device), /authority$/);
    await ca("taint", old.server);
    await ca("taint", old.device);
    check();
    assert.match(issuerAt(site.device), /authority 2$/, "it renewed early");
    await ca("revoke", old.server);
    await ca("revoke", old.device);
    check();
    assert.equal(idAt(site.device), id, "without another enrollment");
    assert.ok(!site.agentLog.includes("agent/server-unknown"));
    const taken = site.upkeep(site.operator, "ca", "activate", old.server);
    assert.equal(taken.status, 2);
    assert.match(taken.stderr, /identity\/bad-move.*never comes back/);
  });

  it("brings a device back that was off all the time", async () => {
    const id = idAt(away);
    assert.equal(checkAt(away)["failure"], null);
    assert.equal(idAt(away), id);
    assert.match(issuerAt(away), /authority 2$/);
    assert.equal(checkAt(away)["failure"], null);
  });

  it("holds over a restart of the server, for new tokens, and in the list", async () => {
    await site.stopServer();
    await site.serve();
    check();
    const fresh = join(site.folder, "fresh");
    enrollAt(fresh);
    assert.equal(checkAt(fresh)["failure"], null);
    assert.match(issuerAt(fresh), /authority 2$/);
    const list = site.ok(site.upkeep(site.operator, "ca", "list")).stdout;
    assert.match(
      list,
      /server {2}revoked[^\n]*\nserver {2}active[^\n]*\ndevice {2}revoked[^\n]*\ndevice {2}active/,
    );
  });

  it("takes a mistyped command for what it is", () => {
    const run = (...words: string[]) => site.upkeep(site.operator, "ca", ...words, "--json");
    const code = (...words: string[]): unknown =>
      (JSON.parse(run(...words).stderr) as { error: { code: string } }).error.code;
    assert.equal(code("prepare", "nobody"), "cli/usage");
    assert.equal(code("taint", "1234567"), "identity/unknown-authority");
    assert.equal(code("revoke", "0".repeat(64)), "identity/unknown-authority");
  });
});
