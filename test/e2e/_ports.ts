// Ports for test programs: below the range from which the system hands out its own, and apart for each test process.

import { createServer } from "node:net";

/** Linux hands out ports from 32768 on; a port from there may be gone again before the program that was given it listens. */
const FIRST = 12_000;
const PER_PROCESS = 50;
const PROCESSES = 400;
let next = 0;

/** A port on which nobody listens, and which no other test process that runs now is given. */
export async function freePort(): Promise<number> {
  const from = FIRST + (process.pid % PROCESSES) * PER_PROCESS;
  for (let tries = 0; tries < PER_PROCESS; tries++) {
    const port = from + (next++ % PER_PROCESS);
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${from} to ${from + PER_PROCESS - 1} is free`);
}

function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
