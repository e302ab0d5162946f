// The control socket: for its owner only, one question and one answer, and no way to hang it.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { AgentError } from "../../agent/errors.ts";
import { lockAgent } from "../device/agent-lock.ts";
import { systemClock } from "./clock.ts";
import { askAgent, listenForControl } from "./control-socket.ts";

async function inFolder(action: (folder: string) => Promise<void>, deep = ""): Promise<void> {
  const top = await mkdtemp(join(tmpdir(), "upkeep-control-"));
  const folder = join(top, deep);
  try {
    await mkdir(folder, { recursive: true });
    await action(folder);
  } finally {
    await rm(top, { recursive: true });
  }
}

describe("the control socket", () => {
  for (const [where, deep] of [
    ["in a folder near by", ""],
    ["in a folder whose path is longer than a socket address", `${"d".repeat(60)}/${"e".repeat(60)}`],
  ] as const) {
    it(`answers ${where}, and is its owner's alone`, async () => {
      await inFolder(async (folder) => {
        await writeFile(join(folder, "control.sock"), "a leftover");
        const control = await listenForControl(folder, async (request) => ({ you: request }));
        try {
          assert.equal((await stat(join(folder, "control.sock"))).mode & 0o777, 0o600);
          const answer = (await askAgent(folder, { do: "x" })) as { you: { do: string } };
          assert.equal(answer.you.do, "x");
        } finally {
          await control.close();
        }
        await assert.rejects(askAgent(folder, {}), { code: "control/no-agent" });
      }, deep);
    });
  }

  it("passes on a refusal with its code", async () => {
    await inFolder(async (folder) => {
      const control = await listenForControl(folder, async () => {
        throw new AgentError("agent/not-installed", "shop is not installed.", {});
      });
      try {
        await assert.rejects(askAgent(folder, {}), (error: { code: string; facts: { code: string } }) => {
          return error.code === "control/refused" && error.facts.code === "agent/not-installed";
        });
      } finally {
        await control.close();
      }
    });
  });

  it("hangs up on too long a question and on what is no question", async () => {
    await inFolder(async (folder) => {
      const control = await listenForControl(folder, async () => null);
      try {
        const say = (text: string): Promise<string> =>
          new Promise((resolve) => {
            let said = "";
            const socket = createConnection(join(folder, "control.sock"), () => socket.end(text));
            socket.on("data", (part) => (said += part.toString()));
            socket.on("error", () => {});
            socket.on("close", () => resolve(said));
          });
        assert.match(await say("no json"), /json\/syntax/);
        assert.equal(await say("x".repeat(10_000)), "");
        assert.match(await say('{"a":1}'), /"ok":null/);
      } finally {
        await control.close();
      }
    });
  });
});

describe("a connection to the control socket", () => {
  const ends = async (answer: string, say: (socket: Socket) => void): Promise<number> => {
    let ms = 0;
    await inFolder(async (folder) => {
      const control = await listenForControl(folder, async () => answer, 300);
      try {
        const begun = performance.now();
        await new Promise<void>((resolve) => {
          const socket = createConnection({ path: join(folder, "control.sock"), allowHalfOpen: true }, () =>
            say(socket),
          );
          socket.on("error", () => {});
          // It is seen that the other side let go when a write does not arrive any more.
          const look = setInterval(() => socket.write(" "), 50);
          socket.on("close", () => {
            clearInterval(look);
            resolve();
          });
        });
        ms = performance.now() - begun;
      } finally {
        await control.close();
      }
    });
    return ms;
  };

  it("that drips a question is closed at the end of its time, however steady the drip", async () => {
    assert.ok((await ends("", (socket) => void socket.write("{"))) < 3000);
  });
});

describe("the lock of an agent's folder", () => {
  it("lets one in, and the next when the first is gone", async () => {
    await inFolder(async (folder) => {
      const unlock = await lockAgent(folder, systemClock, "run");
      await assert.rejects(lockAgent(folder, systemClock, "run"), { code: "agent/locked" });
      await unlock();
      await (
        await lockAgent(folder, systemClock, "run")
      )();
    });
  });
});
