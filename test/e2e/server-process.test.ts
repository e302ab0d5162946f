// The program `upkeep server` as an operator runs it: start, commands beside it, kill, restart, stop.

import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { get } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { parseToken } from "../../src/identity/token.ts";
import type { UpdateServer } from "../../src/apps/server/server.ts";
import { assigned, checkIn, enroll, eventually } from "./_server.ts";

const data = mkdtempSync(join(tmpdir(), "upkeep-server-process-"));
const main = new URL("../../src/apps/cli/main.ts", import.meta.url).pathname;
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(data, { recursive: true, force: true });
});

type Done = {
  readonly status: number | null;
  readonly json: Record<string, unknown>;
  readonly code: string | undefined;
};

function upkeep(...words: string[]): Done {
  const done = spawnSync(process.execPath, [main, "--data", data, "--json", ...words], {
    encoding: "utf8",
    timeout: 60_000,
  });
  const text = done.stdout.trim() === "" ? done.stderr : done.stdout;
  const { error, ...json } = JSON.parse(text) as Record<string, unknown> & { error?: { code: string } };
  return { status: done.status, json, code: error?.code };
}

type Running = { readonly child: ChildProcess; readonly port: number; readonly lines: () => string };

async function serve(): Promise<Running> {
  const child = spawn(
    process.execPath,
    [main, "--data", data, "server", "--listen", "127.0.0.1:0", "--name", "127.0.0.1", "--admin", "off"],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  children.push(child);
  let text = "";
  child.stderr!.setEncoding("utf8").on("data", (part: string) => (text += part));
  const started = /"event":"server\/started".*?"port":(\d+)/;
  await eventually("the server starts", () => started.test(text) || child.exitCode !== null, 20_000);
  const port = Number(started.exec(text)?.[1] ?? 0);
  assert.notEqual(port, 0, text);
  return { child, port, lines: () => text };
}

const ended = (child: ChildProcess): Promise<number | null> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve(child.exitCode)
    : new Promise((resolve) => child.once("exit", resolve));

describe("the program", () => {
  it(
    "serves, survives kill -9 with its memory intact, and stops when asked",
    { timeout: 120_000 },
    async () => {
      assert.equal(upkeep("token", "new").code, "fleet/no-repository");
      assert.equal(upkeep("repo", "init").status, 0);
      assert.equal(upkeep("fleet", "assign", "default", "shop", "stable").status, 0);
      const first = await serve();
      const token = String(upkeep("token", "new", "--hours", "1").json["token"]);
      const at = (running: Running): UpdateServer =>
        ({
          address: { host: "127.0.0.1", port: running.port },
          ...parseToken(token),
        }) as unknown as UpdateServer;
      const device = await enroll(at(first), token);
      assert.deepEqual(assigned(await checkIn(device)).components, [
        { product: "shop", channel: "stable", hold: { reason: "no-release" } },
      ]);

      // A second server on the same folder would write the same files.
      const second = spawnSync(
        process.execPath,
        [main, "--data", data, "--json", "server", "--listen", "127.0.0.1:0", "--admin", "off"],
        {
          encoding: "utf8",
          timeout: 30_000,
        },
      );
      assert.equal(second.status, 4);
      assert.match(second.stderr, /"fleet\/store-in-use"/);

      first.child.kill("SIGKILL");
      await ended(first.child);
      const third = await serve();
      const again = { ...device.server, port: third.port };
      const { openServerClient } = await import("../../src/io/device/server-client.ts");
      const client = openServerClient(again, device.identity);
      await checkIn({ ...device, client });
      await assert.rejects(enroll(at(third), token), { code: "server/refused" }, "the token stays spent");

      // Commands of other processes reach the running server.
      const listed = upkeep("device", "list").json["devices"] as { id: string; state: string }[];
      assert.deepEqual(
        listed.map((d) => d.id),
        [device.id],
      );
      assert.equal(upkeep("device", "revoke", device.id).status, 0);
      await eventually(
        "the revoked device is refused",
        () =>
          checkIn({ ...device, client }).then(
            () => false,
            (e: { facts: { code?: string } }) => e.facts.code === "fleet/device-revoked",
          ),
        5000,
      );
      const audit = upkeep("fleet", "audit").json as {
        holds: boolean;
        rows: { action: string; actor: string }[];
      };
      assert.equal(audit.holds, true);
      const trace = audit.rows.find((row) => row.action === "device/revoked");
      assert.match(trace?.actor ?? "", /^operator:./);
      const ids = (state: string): unknown[] =>
        (upkeep("device", "list", "--state", state).json["devices"] as { id: string }[]).map((d) => d.id);
      assert.deepEqual([ids("revoked"), ids("online")], [[device.id], []]);

      third.child.kill("SIGTERM");
      assert.equal(await ended(third.child), 0);
      assert.match(third.lines(), /"event":"server\/stopped"/);
      for (const line of third.lines().trimEnd().split("\n")) JSON.parse(line);
      assert.ok(!third.lines().includes(token.split(".")[2]!), "no secret in the log");
      client.close();
      device.client.close();
    },
  );

  it(
    "serves while strangers hold silent connections, says what they hold, and stops (connection flood)",
    { timeout: 120_000 },
    async () => {
      const admin = join(data, "admin.sock");
      const words = [main, "--data", data, "server", "--listen", "127.0.0.1:0", "--name", "127.0.0.1"];
      // So few descriptors that the strangers would take all of them.
      const command = `ulimit -n 700; exec "$0" "$@"`;
      const child = spawn("/bin/sh", ["-c", command, process.execPath, ...words, "--admin", admin], {
        stdio: ["ignore", "ignore", "pipe"],
      });
      children.push(child);
      let text = "";
      child.stderr!.setEncoding("utf8").on("data", (part: string) => (text += part));
      const started = /"event":"server\/started".*?"port":(\d+)/;
      await eventually("the server starts", () => started.test(text) || child.exitCode !== null, 20_000);
      const port = Number(started.exec(text)![1]);
      assert.match(text, /"event":"server\/few-descriptors".*"connections":457/);
      const look = (path: string): Promise<{ status: number; body: string }> =>
        new Promise((resolve, reject) => {
          get({ socketPath: admin, path, agent: false }, (response) => {
            let body = "";
            response.setEncoding("utf8").on("data", (part: string) => (body += part));
            response.on("end", () => resolve({ status: response.statusCode!, body }));
          }).on("error", reject);
        });
      const silent: Socket[] = [];
      for (let i = 0; i < 900; i++) {
        const socket = connect({ host: "127.0.0.1", port, localAddress: `127.0.0.${2 + (i % 5)}` });
        socket.on("error", () => {});
        silent.push(socket);
      }
      const value = async (name: string): Promise<number> =>
        Number(new RegExp(`^${name} (\\S+)$`, "m").exec((await look("/metrics")).body)?.[1]);
      await eventually(
        "they are counted",
        async () => (await value("upkeep_handshakes_unfinished")) === 115,
        20_000,
      );
      assert.ok((await value("upkeep_connections")) >= 115);
      assert.ok((await value("process_open_fds")) >= 115);
      assert.equal(await value("process_max_fds"), 700);
      const token = String(upkeep("token", "new", "--hours", "1").json["token"]);
      const at = { address: { host: "127.0.0.1", port }, ...parseToken(token) } as unknown as UpdateServer;
      (await enroll(at, token)).client.close();
      assert.deepEqual(await look("/readyz"), { status: 200, body: "ready\n" });
      // Beyond their time they are closed, though their peers stay.
      await eventually("they are closed", async () => (await value("upkeep_connections")) < 5, 20_000);
      for (let i = 0; i < 50; i++)
        silent.push(connect({ host: "127.0.0.1", port }).on("error", () => {}) as Socket);
      await eventually("more come", async () => (await value("upkeep_connections")) >= 50, 5000);
      const begun = performance.now();
      child.kill("SIGTERM");
      assert.equal(await ended(child), 0);
      assert.ok(performance.now() - begun < 20_000);
      for (const socket of silent) socket.destroy();
    },
  );

  it("keeps keys and database from other users of the machine", () => {
    for (const folder of ["server", "server/tls"]) {
      assert.equal(statSync(join(data, folder)).mode & 0o077, 0, folder);
      for (const name of readdirSync(join(data, folder))) {
        const { mode } = statSync(join(data, folder, name));
        if (/key\.json$|sqlite|lock$/.test(name)) assert.equal(mode & 0o077, 0, name);
      }
    }
  });

  it("refuses options that make no sense", () => {
    assert.equal(upkeep("server", "--listen", "everywhere").status, 2);
    assert.equal(upkeep("server", "--admin", "0.0.0.0:8444").status, 2);
    assert.equal(
      upkeep("fleet", "assign", "default", "shop", "stable", "--stay-at", "1.0.0").code,
      "fleet/unknown-release",
    );
    assert.equal(upkeep("device", "show", "nobody").code, "fleet/unknown-device");
    assert.equal(upkeep("fleet", "interval", "default", "1").status, 2);
  });
});
