// Clients of one service in a process of their own, so that nothing a test waits for slows them: `node _crowd.ts PORT`; ends with its input.

import { Agent, get } from "node:http";
import { connect } from "node:net";

const port = Number(process.argv[2]);
const CLIENTS = 20;
/** How long a connection that is held open talks before it says good-bye. */
const TALK = 3000;

/** How often each version answered, by the kind of client. */
const answers: Record<string, Record<string, number>> = { short: {}, download: {}, talk: {} };
const failures: string[] = [];
const over = { yet: false };

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function count(kind: string, version: string): void {
  answers[kind]![version] = (answers[kind]![version] ?? 0) + 1;
}

function ask(path: string, agent: Agent): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const call = get({ port, host: "127.0.0.1", path, agent }, (answer) => {
      let body = "";
      answer.on("data", (part: Buffer) => (body += part.toString()));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body }));
      answer.on("error", reject);
    });
    call.on("error", reject);
  });
}

async function attempt(what: string, action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    failures.push(`${what}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
}

async function client(number: number): Promise<void> {
  const agent = new Agent({ keepAlive: number % 2 === 0 });
  for (let i = 0; !over.yet; i++) {
    await attempt("short", async () => {
      const { status, body } = await ask(i % 5 === 0 ? "/slow" : "/", agent);
      if (status !== 200) throw new Error(`${status} ${body}`);
      count("short", body);
    });
    // A machine of two cores is shared by clients, server and agent.
    await pause(5);
  }
  agent.destroy();
}

/** 3 s each; the last word of the body says who sent it. */
async function downloads(): Promise<void> {
  const agent = new Agent({ keepAlive: false });
  while (!over.yet)
    await attempt("download", async () => {
      const { body } = await ask("/long", agent);
      if (!/^(?:part ){30}\d/.test(body)) throw new Error(`cut off after ${body.length} characters`);
      count("download", body.slice("part ".length * 30));
    });
}

/** A connection that is held open like a WebSocket: one program answers on it to the end. */
async function talks(): Promise<void> {
  while (!over.yet) await attempt("talk", talk);
}

function talk(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let said = "";
    const timer = setInterval(() => socket.write("hello"), 200);
    const bye = setTimeout(() => {
      clearInterval(timer);
      socket.write("bye");
    }, TALK);
    socket.write("GET /talk HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    socket.on("data", (part) => (said += part.toString()));
    socket.on("error", reject);
    socket.on("close", () => {
      clearInterval(timer);
      clearTimeout(bye);
      const words = said.split("\r\n\r\n")[1] ?? "";
      const version = /bye (\S+)$/.exec(words)?.[1];
      if (version === undefined) reject(new Error(`ended without good-bye after "${said.slice(-40)}"`));
      else {
        count("talk", version);
        resolve();
      }
    });
  });
}

process.stdin.resume();
process.stdin.on("end", () => (over.yet = true));
await Promise.all([...Array.from({ length: CLIENTS }, (_, i) => client(i)), downloads(), talks()]);
const cut = failures.filter((what) => !what.startsWith("short")).length;
process.stdout.write(
  `${JSON.stringify({ answers, failures: failures.slice(0, 50), failed: failures.length, cut })}\n`,
);
process.exit();
