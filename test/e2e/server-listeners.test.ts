// A thousand devices that listen at once: all are woken, memory stays bounded, and one more than allowed is told so.

import assert from "node:assert/strict";
import { Agent, request } from "node:http";
import type { IncomingMessage } from "node:http";
import { after, describe, it } from "node:test";
import { HttpError } from "../../src/io/http/errors.ts";
import { startHttpServer, type HttpServer } from "../../src/io/http/server.ts";
import { noLog } from "../../src/io/system/log.ts";
import { WakeHub } from "../../src/io/http/wake-hub.ts";

const MANY = 1000;

describe("a thousand idle listeners", () => {
  const hub = new WakeHub(MANY, 500);
  const agent = new Agent({ maxSockets: MANY * 2 });
  let server: HttpServer;
  after(async () => {
    hub.stop();
    agent.destroy();
    await server.stop();
  });
  const open = (id: number): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const { port } = server.address as { port: number };
      request({ host: "127.0.0.1", port, path: `/${id}`, agent }, resolve)
        .on("error", reject)
        .end();
    });

  it("are all woken, cost little memory, and leave nothing behind", { timeout: 60_000 }, async () => {
    server = await startHttpServer({
      listen: { host: "127.0.0.1", port: 0 },
      log: noLog,
      handle: async ({ path }) => {
        const device = { id: path.slice(1), group: "default" };
        if (!hub.hasRoom(device.id)) throw new HttpError("http/unavailable", "full");
        return { stream: (response) => hub.stream(device, response, { after: null, newest: 0 }) };
      },
    });
    const before = process.memoryUsage.rss();
    const heard = new Map<number, string>();
    const responses: IncomingMessage[] = [];
    for (let i = 0; i < MANY; i++) {
      const response = await open(i);
      assert.equal(response.statusCode, 200);
      response.setEncoding("utf8").on("data", (part: string) => heard.set(i, (heard.get(i) ?? "") + part));
      responses.push(response);
    }
    assert.equal(hub.size, MANY);
    const refusedOne = await open(MANY);
    assert.equal(refusedOne.statusCode, 503);
    refusedOne.resume();

    assert.equal(
      hub.tell(() => 1),
      MANY,
    );
    await new Promise((resolve) => setTimeout(resolve, 1200));
    for (let i = 0; i < MANY; i++) {
      const text = heard.get(i) ?? "";
      assert.equal(text.match(/event: check/g)?.length, 1, `listener ${i} was woken once`);
      assert.ok((text.match(/^:$/gm)?.length ?? 0) >= 2, `listener ${i} got heartbeats`);
    }
    // Both ends of every connection are in this process, so a server alone has less than half of it.
    const each = (process.memoryUsage.rss() - before) / MANY;
    assert.ok(each < 150 * 1024, `${Math.round(each / 1024)} KiB for both ends of a listener`);

    for (const response of responses) response.destroy();
    for (let i = 0; i < 100 && hub.size > 0; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(hub.size, 0);
  });
});
