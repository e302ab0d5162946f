// What an idle device costs the server: memory of a mutual TLS connection that waits for a wake-up, and the CPU to wake them all.
//
//   node bench/listeners.ts [DEVICES]

import { fork, type ChildProcess } from "node:child_process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { noLog } from "../src/io/system/log.ts";
import { wakeNow } from "../src/fleet/messages.ts";
import { enroll, World, type Device } from "../test/e2e/_server.ts";
import type { UpdateServer } from "../src/apps/server/server.ts";
import { table } from "./_measure.ts";

type Usage = { readonly rss: number; readonly cpu: number };

const heard = <T>(from: ChildProcess): Promise<T> =>
  new Promise((resolve) => from.once("message", (message) => resolve(message as T)));
const ask = <T>(of: ChildProcess, what: string): Promise<T> => {
  const answer = heard<T>(of);
  of.send(what);
  return answer;
};

async function child(devices: number): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const world = await World.create();
  const many = devices * 4 + 1000;
  const limits = {
    connections: many,
    connectionsPerAddress: many,
    handshakes: { burst: many, refillMs: 1 },
    listeners: many,
  };
  const server = await world.start({ log: noLog, tick: 100, limits });
  const tokens: string[] = [];
  for (let i = 0; i < devices; i++) tokens.push(await world.token(server));
  process.on("message", (what) => {
    if (what === "wake") {
      void world
        .withStore((store) => store.transaction((r) => wakeNow(r, Date.now(), "all")))
        .then((seq) => process.send!(seq));
      return;
    }
    collect();
    const { user, system } = process.cpuUsage();
    process.send!({ rss: process.memoryUsage.rss() / 1024, cpu: (user + system) / 1000 } satisfies Usage);
  });
  process.once("disconnect", () => {
    world.remove();
    process.exit(0);
  });
  process.send!({ port: server.address.port, tokens });
}

async function parent(devices: number): Promise<void> {
  const server = fork(new URL(import.meta.url).pathname, [String(devices)], { stdio: "inherit" });
  const { port, tokens } = await heard<{ port: number; tokens: string[] }>(server);
  const address = { address: { host: "127.0.0.1", port } } as UpdateServer;
  const all: Device[] = [];
  for (const token of tokens) all.push(await enroll(address, token));
  // Enrolment's connections have gone; what is left is the server's own memory.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const before = await ask<Usage>(server, "usage");
  const told = { count: 0, latest: 0 };
  for (const device of all) {
    const stream = device.client.wakes(0);
    void (async () => {
      for await (const _ of stream) {
        told.count++;
        told.latest = performance.now();
      }
    })().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const idle = await ask<Usage>(server, "usage");
  const from = performance.now();
  await ask<number>(server, "wake");
  while (told.count < devices && performance.now() - from < 10_000)
    await new Promise((resolve) => setTimeout(resolve, 20));
  const after = await ask<Usage>(server, "usage");
  console.log(
    table([
      ["devices that listen", "memory each", "CPU to connect each", "CPU to wake all", "all woken after"],
      [
        String(told.count),
        `${((idle.rss - before.rss) / devices).toFixed(0)} KiB`,
        `${((idle.cpu - before.cpu) / devices).toFixed(1)} ms`,
        `${(after.cpu - idle.cpu).toFixed(0)} ms`,
        `${(told.latest - from).toFixed(0)} ms`,
      ],
    ]),
  );
  for (const device of all) device.client.close();
  server.disconnect();
  await new Promise((resolve) => server.once("exit", resolve));
}

const devices = Number(process.argv[2] ?? 1000);
if (process.send !== undefined) await child(devices);
else await parent(devices);
