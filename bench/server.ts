// What a check-in and a served file cost the server, beside bare node:https in the same run.
//
//   node bench/server.ts [SECONDS]

import { fork, type ChildProcess } from "node:child_process";
import { createReadStream } from "node:fs";
import { Agent, createServer, request } from "node:https";
import { join } from "node:path";
import { toUtf8 } from "../src/core/bytes.ts";
import { systemClock } from "../src/io/system/clock.ts";
import { systemDisk } from "../src/io/system/disk.ts";
import { noLog } from "../src/io/system/log.ts";
import { systemRandom } from "../src/io/system/random.ts";
import { connectOptions } from "../src/io/device/tls.ts";
import { makeServerCertificate, openAuthorities } from "../src/apps/server/authorities.ts";
import { certificatePem } from "../src/der/x509.ts";
import { assign } from "../src/fleet/assign.ts";
import { enroll, nonce, World } from "../test/e2e/_server.ts";
import type { UpdateServer } from "../src/apps/server/server.ts";
import { table } from "./_measure.ts";

const FILE = Buffer.alloc(64 * 1024 * 1024, "upkeep");
const LARGE = "targets/large.bin";
const DEVICES = 8;

type Started = {
  readonly port: number;
  readonly caPem: string;
  readonly caSpkiSha256: string;
  readonly tokens: string[];
};

/** The server under test, alone in its process; tells its CPU time when asked. */
async function child(kind: "upkeep" | "bare"): Promise<void> {
  const world = await World.create();
  world.write(LARGE, FILE);
  let started: Started;
  if (kind === "upkeep") {
    const endless = { burst: 1e9, refillMs: 1 };
    const server = await world.start({ log: noLog, quotas: { checkIns: endless }, tick: 500 });
    await world.withStore((store) =>
      store.transaction((r) =>
        assign(r, Date.now(), { group: "default", product: "shop", channel: "stable" }),
      ),
    );
    await server.refresh();
    const tokens: string[] = [];
    for (let i = 0; i < DEVICES; i++) tokens.push(await world.token(server));
    started = { port: server.address.port, caPem: server.caPem, caSpkiSha256: server.caSpkiSha256, tokens };
  } else {
    const tools = { disk: systemDisk, random: systemRandom, clock: systemClock };
    const { server: authority } = await openAuthorities(join(world.data, "tls"), tools);
    const { key, cert } = await makeServerCertificate(authority, ["127.0.0.1"], tools);
    const file = join(world.data, "repository", LARGE);
    const answer = toUtf8(JSON.stringify({ assignment: "x".repeat(900), interval: 300, seq: 0 }));
    const server = createServer({ key, cert, minVersion: "TLSv1.3" }, (incoming, response) => {
      if (incoming.method === "GET") {
        createReadStream(file).pipe(response);
        return;
      }
      let body = "";
      incoming.setEncoding("utf8").on("data", (part: string) => (body += part));
      incoming.on("end", () => {
        JSON.parse(body);
        response.setHeader("content-type", "application/json").end(answer);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    started = { port, caPem: certificatePem(authority.certificate), caSpkiSha256: "", tokens: [] };
  }
  process.on("message", () => {
    const { user, system } = process.cpuUsage();
    process.send!({ cpu: (user + system) / 1e6, rss: process.resourceUsage().maxRSS / 1024 });
  });
  process.once("disconnect", () => {
    world.remove();
    process.exit(0);
  });
  process.send!(started);
}

type Usage = { readonly cpu: number; readonly rss: number };

const heard = <T>(from: ChildProcess): Promise<T> =>
  new Promise((resolve) => from.once("message", (m) => resolve(m as T)));
const usage = (of: ChildProcess): Promise<Usage> => {
  const answer = heard<Usage>(of);
  of.send("usage");
  return answer;
};

async function parent(seconds: number): Promise<void> {
  const rows: string[][] = [
    ["", "check-ins per CPU s", "per s", "MiB per CPU s", "MiB per s", "peak RSS MiB"],
  ];
  const rates: number[][] = [];
  for (const kind of ["upkeep", "bare"] as const) {
    const server = fork(new URL(import.meta.url).pathname, [kind], { stdio: "inherit" });
    const started = await heard<Started>(server);
    const place = { host: "127.0.0.1", port: started.port, ca: started.caPem };
    const agents: Agent[] = [];
    if (kind === "upkeep") {
      const address = { address: { host: "127.0.0.1", port: started.port } } as UpdateServer;
      for (const token of started.tokens) {
        const device = await enroll(address, token);
        device.client.close();
        agents.push(
          new Agent({ ...connectOptions(device.server, device.identity), keepAlive: true, maxSockets: 1 }),
        );
      }
    } else {
      for (let i = 0; i < DEVICES; i++) agents.push(new Agent({ ...place, keepAlive: true, maxSockets: 1 }));
    }
    const platform = { os: "linux", arch: "x64", libc: "glibc" };
    const checkIn = (agent: Agent): Promise<number> =>
      ask(
        agent,
        place,
        "POST",
        "/v1/check-in",
        JSON.stringify({ nonce: nonce(), platform, components: [{ product: "shop", version: "1.0.0" }] }),
      );
    const download = (agent: Agent): Promise<number> => ask(agent, place, "GET", `/repository/${LARGE}`);

    await load(agents, checkIn, 1);
    const small = await measured(server, () => load(agents, checkIn, seconds));
    const large = await measured(server, () => load(agents.slice(0, 2), download, seconds));
    const { rss } = await usage(server);
    const mib = large.bytes / 1024 / 1024;
    rates.push([small.calls / small.cpu, mib / large.cpu]);
    rows.push([
      kind === "upkeep" ? "upkeep server (mutual TLS, signed answers)" : "bare node:https (fixed answers)",
      (small.calls / small.cpu).toFixed(0),
      (small.calls / seconds).toFixed(0),
      (mib / large.cpu).toFixed(0),
      (mib / seconds).toFixed(0),
      rss.toFixed(0),
    ]);
    for (const agent of agents) agent.destroy();
    server.disconnect();
    await new Promise((resolve) => server.once("exit", resolve));
  }
  console.log(table(rows));
  const [ours, bare] = rates as [number[], number[]];
  console.log(
    `\nA check-in costs ${(bare[0]! / ours[0]!).toFixed(2)} times a bare request; a served MiB ${(bare[1]! / ours[1]!).toFixed(2)} times a bare one.`,
  );
}

async function measured(
  server: ChildProcess,
  work: () => Promise<{ calls: number; bytes: number }>,
): Promise<{ calls: number; bytes: number; cpu: number }> {
  const before = await usage(server);
  const done = await work();
  const after = await usage(server);
  return { ...done, cpu: after.cpu - before.cpu };
}

async function load(
  agents: readonly Agent[],
  call: (agent: Agent) => Promise<number>,
  seconds: number,
): Promise<{ calls: number; bytes: number }> {
  const end = Date.now() + seconds * 1000;
  let calls = 0;
  let bytes = 0;
  await Promise.all(
    agents.map(async (agent) => {
      while (Date.now() < end) {
        bytes += await call(agent);
        calls++;
      }
    }),
  );
  return { calls, bytes };
}

function ask(
  agent: Agent,
  place: { host: string; port: number; ca: string },
  method: string,
  path: string,
  body?: string,
): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers =
      body === undefined
        ? {}
        : { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const outgoing = request({ ...place, agent, method, path, headers }, (response) => {
      let bytes = 0;
      response.on("data", (part: Buffer) => (bytes += part.length));
      response.on("end", () =>
        response.statusCode === 200 ? resolve(bytes) : reject(new Error(`status ${response.statusCode}`)),
      );
      response.on("error", reject);
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

if (process.send !== undefined) await child(process.argv[2] as "upkeep" | "bare");
else await parent(Number(process.argv[2] ?? 6));
