// Several servers on one PostgreSQL, as programs: what one does the others' devices notice, and what happens when a server or the database goes.

import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { request as plainRequest, type IncomingMessage } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { UpdateServer } from "../../src/apps/server/server.ts";
import { parseToken } from "../../src/identity/token.ts";
import { openServerClient } from "../../src/io/device/server-client.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../src/testing/postgres-cluster.ts";
import type { Wake } from "../../src/message/wake.ts";
import { assigned, checkIn, enroll, eventually, type Device } from "./_server.ts";

const main = new URL("../../src/apps/cli/main.ts", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "upkeep-copies-"));
const [one, two, three] = [join(folder, "one"), join(folder, "two"), join(folder, "three")];
const children: ChildProcess[] = [];
let cluster: PostgresCluster;
let env: NodeJS.ProcessEnv;

type Running = {
  readonly child: ChildProcess;
  readonly port: number;
  readonly admin: string;
  readonly lines: () => string;
};

function upkeep(
  data: string,
  ...words: string[]
): { status: number | null; code: string; json: Record<string, unknown> } {
  const done = spawnSync(process.execPath, [main, "--data", data, "--json", ...words], {
    encoding: "utf8",
    timeout: 60_000,
    env,
  });
  // A server may have something to say before it ends; the last line is why it did.
  const text = (done.stdout.trim() === "" ? done.stderr : done.stdout).trim().split("\n").at(-1)!;
  const { error, ...json } = JSON.parse(text) as Record<string, unknown> & { error?: { code: string } };
  return { status: done.status, json, code: error?.code ?? "" };
}

async function serve(data: string, ...more: string[]): Promise<Running> {
  const admin = join(folder, `${children.length}.sock`);
  const child = spawn(
    process.execPath,
    [
      main,
      "--data",
      data,
      "server",
      "--listen",
      "127.0.0.1:0",
      "--name",
      "127.0.0.1",
      "--admin",
      admin,
      ...more,
    ],
    { stdio: ["ignore", "ignore", "pipe"], env },
  );
  children.push(child);
  let text = "";
  child.stderr!.setEncoding("utf8").on("data", (part: string) => (text += part));
  const started = /"event":"server\/started".*?"port":(\d+)/;
  await eventually("the server starts", () => started.test(text) || child.exitCode !== null, 20_000);
  const port = Number(started.exec(text)?.[1] ?? 0);
  assert.notEqual(port, 0, text);
  return { child, port, admin, lines: () => text };
}

const ended = (child: ChildProcess): Promise<void> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve()
    : new Promise((resolve) => void child.once("exit", () => resolve()));

const newToken = (): string => String(upkeep(one, "token", "new").json["token"]);

function enrolAt({ port }: Running): Promise<Device> {
  const token = newToken();
  const place = { address: { host: "127.0.0.1", port }, ...parseToken(token) };
  return enroll(place as unknown as UpdateServer, token);
}

/** The same device, talking to another server. */
function at(device: Device, { port }: Running): Device {
  const server = { ...device.server, port };
  return { ...device, server, client: openServerClient(server, device.identity) };
}

/** Status of a file of the static plane, or of the admin plane's socket. */
function get(
  path: string,
  where: Running,
  plane: "device" | "admin" = "device",
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const take = (response: IncomingMessage): void => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.once("end", () => resolve({ status: response.statusCode ?? 0, text }));
    };
    if (plane === "device")
      // Who it is does not matter here: what is fetched is verified by its own signatures.
      request({ host: "127.0.0.1", port: where.port, path, rejectUnauthorized: false }, take)
        .once("error", reject)
        .end();
    else plainRequest({ socketPath: where.admin, path }, take).once("error", reject).end();
  });
}

/** The next wake-up of a device, while something is done. */
async function wokenBy(device: Device, action: () => void): Promise<number> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(new Error("nobody was woken")), 10_000);
  try {
    const stream = device.client.wakes(null, stop.signal);
    const next = stream.next();
    // The stream stands when its first heartbeat has come; a wake-up before that would be told as well.
    await sleep(300);
    action();
    const { value } = await next;
    await stream.return();
    return (value as Wake).seq;
  } finally {
    clearTimeout(timer);
    stop.abort();
  }
}

const code = (action: Promise<unknown>): Promise<string> =>
  action.then(
    () => "ok",
    (error: { code?: string; facts?: { code?: string } }) => error.facts?.code ?? error.code ?? String(error),
  );

describe("two servers on one PostgreSQL", { ...needsPostgres(), timeout: 180_000 }, () => {
  let a: Running;
  let b: Running;
  let first: Device;
  let second: Device;

  before(async () => {
    cluster = await startPostgres();
    env = {
      ...process.env,
      UPKEEP_STORE: await cluster.createDatabase(),
      PGPASSFILE: cluster.passwordFile,
    };
    assert.equal(upkeep(one, "repo", "init").status, 0);
    a = await serve(one);
    // As an operator does it: authorities, director and repository of the first server.
    for (const part of ["keys/director.key.json", "repository", "server/tls"])
      cpSync(join(one, part), join(two, part), { recursive: true });
    b = await serve(two, "--renewed-elsewhere");
    first = await enrolAt(a);
    second = await enrolAt(b);
  });
  after(async () => {
    for (const device of [first, second]) device?.client.close();
    for (const child of children) child.kill("SIGKILL");
    await Promise.all(children.map(ended));
    await cluster?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  it("know each other's devices, and keep nothing of the fleet in their folders", async () => {
    const elsewhere = at(first, b);
    await checkIn(elsewhere);
    elsewhere.client.close();
    await checkIn(second);
    const { devices } = upkeep(one, "device", "list").json as { devices: { id: string }[] };
    assert.deepEqual(devices.map(({ id }) => id).toSorted(), [first.id, second.id].toSorted());
    assert.notEqual(spawnSync("test", ["-e", join(one, "server/upkeep.sqlite")]).status, 0);
  });

  it("wake the devices of both when an operator assigns or asks", async () => {
    const woken = Promise.all([
      wokenBy(first, () => undefined),
      wokenBy(second, () => void upkeep(two, "fleet", "assign", "default", "shop", "stable")),
    ]);
    await woken;
    for (const device of [first, second]) {
      assert.deepEqual(assigned(await checkIn(device)).components, [
        { product: "shop", channel: "stable", hold: { reason: "no-release" } },
      ]);
    }
    const seqs = await Promise.all([
      wokenBy(first, () => undefined),
      wokenBy(second, () => void upkeep(one, "fleet", "wake")),
    ]);
    assert.equal(seqs[0], seqs[1]);
  });

  it("refuse a third whose authorities are its own, and a folder that one of them has", () => {
    for (const part of ["keys", "repository"])
      cpSync(join(one, part), join(three, part), { recursive: true });
    const other = upkeep(three, "server", "--listen", "127.0.0.1:0", "--admin", "off");
    assert.deepEqual([other.status, other.code], [3, "fleet/other-authorities"]);
    assert.equal(
      upkeep(two, "server", "--listen", "127.0.0.1:0", "--admin", "off").code,
      "fleet/store-in-use",
    );
  });

  it("serve files and say why they do nothing else while the database is down, and go on when it is back", async () => {
    await cluster.stop("immediate");
    await eventually(
      "a check-in is refused",
      async () => (await code(checkIn(second))) === "fleet/store-unavailable",
      15_000,
    );
    const file = await get("/repository/metadata/timestamp.json", b);
    assert.equal(file.status, 200);
    const ready = await get("/readyz", b, "admin");
    assert.deepEqual([ready.status, /database/.test(ready.text)], [503, true]);
    const metrics = await get("/metrics", b, "admin");
    assert.match(metrics.text, /^upkeep_store_up 0$/m);
    const refusal = await new Promise<string>((resolve) =>
      second.client
        .call("checkIn", {
          nonce: "x".repeat(43),
          platform: { os: "linux", arch: "x64", libc: "glibc" },
          components: [],
        })
        .then(
          () => resolve(""),
          (error: unknown) => resolve(JSON.stringify(error)),
        ),
    );
    assert.ok(refusal.includes("store-unavailable") && !refusal.includes("postgres"), refusal);
    assert.equal(upkeep(one, "device", "list").code, "fleet/store-unavailable");
    // A server that starts meanwhile says so and leaves; whoever keeps it running starts it again.
    cpSync(join(one, "server/tls"), join(three, "server/tls"), { recursive: true });
    assert.equal(
      upkeep(three, "server", "--listen", "127.0.0.1:0", "--admin", "off").code,
      "fleet/store-unavailable",
    );

    await cluster.start();
    for (const device of [first, second])
      await eventually(
        "check-ins are answered again",
        async () => (await code(checkIn(device))) === "ok",
        15_000,
      );
    await eventually(
      "it is ready again",
      async () => (await get("/readyz", b, "admin")).status === 200,
      15_000,
    );
    await wokenBy(second, () => void upkeep(one, "fleet", "wake", "--device", second.id));
  });

  it("lose nothing when one of them is killed", async () => {
    a.child.kill("SIGKILL");
    await ended(a.child);
    const elsewhere = at(first, b);
    await checkIn(elsewhere);
    assert.equal(upkeep(two, "device", "revoke", first.id).status, 0);
    await eventually(
      "the revoked device is refused",
      async () => (await code(checkIn(elsewhere))) === "fleet/device-revoked",
      5000,
    );
    elsewhere.client.close();
    assert.equal(upkeep(two, "fleet", "audit").json["holds"], true);
  });

  it("leave their records to a server with a file of its own (export, import)", async () => {
    const dump = join(folder, "fleet.dump");
    assert.equal(upkeep(two, "fleet", "export", dump).status, 0);
    env = { ...env, UPKEEP_STORE: "" };
    assert.equal(upkeep(three, "fleet", "import", dump).status, 0);
    const moved = await serve(three);
    const there = at(second, moved);
    await checkIn(there);
    there.client.close();
    assert.equal(upkeep(three, "fleet", "import", dump).code, "fleet/store-not-empty");
  });
});
