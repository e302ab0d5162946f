// The HTTP server from the outside: files, limits, wake-ups, and a stop that drops nobody.

import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { request as plainRequest } from "node:http";
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { after, before, describe, it } from "node:test";
import { assign, configureGroup } from "../../src/fleet/assign.ts";
import { wakeNow } from "../../src/fleet/messages.ts";
import { connectOptions } from "../../src/io/device/tls.ts";
import { openServerClient } from "../../src/io/device/server-client.ts";
import type { Wake } from "../../src/message/wake.ts";
import type { UpdateServer } from "../../src/apps/server/server.ts";
import { assigned, checkIn, enroll, eventually, World, type Device } from "./_server.ts";

let world: World;
let server: UpdateServer;
before(async () => {
  world = await World.create();
  server = await world.start({
    admin: { host: "127.0.0.1", port: 0 },
    limits: { headers: 400, request: 800, keepAlive: 2000, handshake: 1000, drain: 3000, heartbeat: 200 },
  });
});
after(async () => {
  await server.stop();
  world.remove();
});

type Reply = { readonly status: number; readonly headers: IncomingMessage["headers"]; readonly body: Buffer };

/** One request; the address goes over the wire as it is written. */
function ask(path: string, options: RequestOptions & { body?: string } = {}, to = server): Promise<Reply> {
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      { host: "127.0.0.1", port: to.address.port, ca: to.caPem, path, agent: false, ...rest },
      (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("end", () =>
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(parts) }),
        );
        response.on("error", reject);
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}
const codeOf = (reply: Reply): string => (JSON.parse(reply.body.toString()) as { code: string }).code;

describe("the static plane", () => {
  const big = Buffer.alloc(1_500_000, "0123456789");
  const name = `targets/products/shop/1.0.0/${"a".repeat(64)}.app.bin`;
  before(() => world.write(name, big));

  it("gives metadata and targets with validators and honest cache headers", async () => {
    for (const [path, cache] of [
      ["metadata/timestamp.json", "no-cache"],
      ["metadata/1.root.json", "public, max-age=31536000, immutable"],
      [name, "public, max-age=31536000, immutable"],
    ] as const) {
      const { status, headers } = await ask(`/repository/${path}`);
      assert.equal(status, 200, path);
      assert.equal(headers["cache-control"], cache, path);
      assert.match(headers.etag!, /^"[^"]+"$/);
      assert.equal(headers["x-content-type-options"], "nosniff");
      assert.equal(headers["accept-ranges"], "bytes");
      const again = await ask(`/repository/${path}`, {
        headers: { "if-none-match": `"x", W/${headers.etag}` },
      });
      assert.equal(again.status, 304, path);
      assert.equal(again.body.length, 0);
      assert.equal(again.headers.etag, headers.etag);
    }
  });

  it("answers HEAD as GET without a body", async () => {
    const { status, headers, body } = await ask(`/repository/${name}`, { method: "HEAD" });
    assert.deepEqual([status, headers["content-length"], body.length], [200, String(big.length), 0]);
  });

  const size = big.length;
  for (const [range, expected] of [
    ["bytes=0-0", [0, 0]],
    ["bytes=10-19", [10, 19]],
    [`bytes=${size - 5}-`, [size - 5, size - 1]],
    ["bytes=-7", [size - 7, size - 1]],
    [`bytes=-${size * 2}`, [0, size - 1]],
    [`bytes=${size - 2}-${size * 2}`, [size - 2, size - 1]],
    ["bytes=100000-1400000", [100000, 1400000]],
  ] as const) {
    it(`gives the range ${range}`, async () => {
      const { status, headers, body } = await ask(`/repository/${name}`, { headers: { range } });
      const [start, end] = expected;
      assert.equal(status, 206);
      assert.equal(headers["content-range"], `bytes ${start}-${end}/${size}`);
      assert.ok(body.equals(big.subarray(start, end + 1)));
    });
  }

  for (const range of ["bytes=5-2", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "bytes 0-1"]) {
    it(`gives the whole file for a range it does not serve (${range})`, async () => {
      const { status, body } = await ask(`/repository/${name}`, { headers: { range } });
      assert.deepEqual([status, body.length], [200, size]);
    });
  }

  it("says 416 for a range of which nothing exists", async () => {
    for (const range of [`bytes=${size}-`, "bytes=-0", `bytes=${size}-${size + 5}`]) {
      const reply = await ask(`/repository/${name}`, { headers: { range } });
      assert.equal(reply.status, 416, range);
      assert.equal(reply.headers["content-range"], `bytes */${size}`);
      assert.equal(codeOf(reply), "http/bad-range");
    }
  });

  it("honours If-Range: a part of the same file, else the whole", async () => {
    const { headers } = await ask(`/repository/${name}`, { method: "HEAD" });
    const part = { range: "bytes=0-9" };
    assert.equal(
      (await ask(`/repository/${name}`, { headers: { ...part, "if-range": headers.etag! } })).status,
      206,
    );
    assert.equal(
      (await ask(`/repository/${name}`, { headers: { ...part, "if-range": '"other"' } })).status,
      200,
    );
    assert.equal(
      (await ask(`/repository/${name}`, { headers: { ...part, "if-range": `W/${headers.etag!}` } })).status,
      200,
    );
  });

  it("lets nobody out of the repository (path escape)", async () => {
    writeFileSync(join(world.data, "secret.json"), "secret");
    writeFileSync(join(world.data, "repository/secret.json"), "secret");
    mkdirSync(join(world.data, "repository/targets/inner"), { recursive: true });
    symlinkSync(join(world.data, "secret.json"), join(world.data, "repository/targets/link.json"));
    symlinkSync(world.data, join(world.data, "repository/targets/up"));
    world.write("targets/.hidden", "secret");
    writeFileSync(join(world.data, "repository/metadata/9.root.json.tmp"), "secret");
    for (const path of [
      "../secret.json",
      "metadata/../../secret.json",
      "metadata/../secret.json",
      "metadata/%2e%2e/secret.json",
      "metadata/%2E%2E%2Fsecret.json",
      "metadata/..%5csecret.json",
      "metadata/..%2f..%2fsecret.json",
      "metadata/..%252fsecret.json",
      "metadata//etc/passwd",
      "metadata/%00",
      "metadata/timestamp.json%00.html",
      "metadata/%ff",
      "secret.json",
      "targets/link.json",
      "targets/up/secret.json",
      "targets/inner",
      "targets/inner/",
      "targets/",
      "metadata",
      "",
      "targets/.hidden",
      "metadata/9.root.json.tmp",
      "metadata/timestamp.json/",
      `targets/${"a/".repeat(40)}x`,
      `targets/${"a".repeat(300)}`,
    ]) {
      const reply = await ask(`/repository/${path}`);
      assert.equal(reply.status, 404, path);
      assert.equal(reply.headers["cache-control"], "no-store", "a cached 404 would hide the next root");
      assert.ok(!reply.body.includes("secret"), path);
    }
  });

  it("only reads", async () => {
    for (const method of ["PUT", "DELETE", "POST", "PATCH", "OPTIONS"]) {
      const reply = await ask("/repository/metadata/timestamp.json", { method });
      assert.deepEqual([reply.status, reply.headers.allow], [405, "GET, HEAD"], method);
    }
  });
});

describe("a request that is not right", () => {
  const json = { "content-type": "application/json" };

  it("gets a status, a code, a sentence and its number", async () => {
    for (const [path, options, status, code] of [
      ["/nothing", {}, 404, "http/not-found"],
      ["/v1/enroll", { method: "GET" }, 405, "http/method-not-allowed"],
      [
        "/v1/enroll",
        { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" },
        415,
        "http/wrong-media-type",
      ],
      ["/v1/enroll?x=1", { method: "POST", headers: json, body: "{}" }, 400, "http/bad-request"],
      ["/v1/enroll", { method: "POST", headers: json, body: "{" }, 400, "json/syntax"],
      ["/v1/enroll", { method: "POST", headers: json, body: "{}" }, 400, "schema/invalid"],
      [
        "/v1/enroll",
        { method: "POST", headers: json, body: '{"token":1,"token":2}' },
        400,
        "json/duplicate-member",
      ],
      ["/v1/check-in", { method: "POST", headers: json, body: "{}" }, 401, "http/no-certificate"],
      ["/v1/wake", {}, 401, "http/no-certificate"],
      [`/${"x".repeat(3000)}`, {}, 414, "http/too-long-address"],
    ] as const) {
      const reply = await ask(path, options);
      assert.equal(reply.status, status, path);
      const body = JSON.parse(reply.body.toString()) as Record<string, string>;
      assert.deepEqual(Object.keys(body).sort(), ["code", "message", "request"]);
      assert.equal(body["code"], code);
      assert.equal(reply.headers["x-request-id"], body["request"]);
      assert.ok(
        world.lines.some((line) => line["request"] === body["request"]),
        "the log has the number",
      );
    }
  });

  it("is too large by its own word, or by what it sends", async () => {
    const body = `{"x":"${"y".repeat(40_000)}"}`;
    const announced = await ask("/v1/enroll", {
      method: "POST",
      headers: { ...json, "content-length": String(body.length) },
      body,
    });
    const chunked = await ask("/v1/enroll", {
      method: "POST",
      headers: { ...json, "transfer-encoding": "chunked" },
      body,
    });
    for (const reply of [announced, chunked])
      assert.deepEqual([reply.status, codeOf(reply)], [413, "http/too-large"]);
  });

  it("has too many header fields", async () => {
    const reply = await ask("/v1/enroll", { headers: { "x-long": "y".repeat(20_000) } });
    assert.deepEqual([reply.status, codeOf(reply)], [431, "http/headers-too-large"]);
  });

  for (const [what, text] of [
    ["that sends its header fields slowly (slow loris)", "GET / HTTP/1.1\r\nhost: x\r\nx-slow: "],
    [
      "that sends its body slowly",
      "POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    ],
  ] as const) {
    it(`${what} is cut off in time`, async () => {
      const from = Date.now();
      const answer = await raw(text);
      assert.match(answer, /^HTTP\/1\.1 408 /);
      assert.match(answer, /"code":"http\/too-slow"/);
      assert.ok(Date.now() - from < 3000);
    });
  }

  it("that is not HTTP, or two requests in one (smuggling), is refused", async () => {
    assert.match(await raw("hello\r\n\r\n"), /^HTTP\/1\.1 400 /);
    const both =
      "POST /v1/enroll HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert.match(await raw(both), /^HTTP\/1\.1 400 /);
    assert.match(await raw("GET / HTTP/1.1\r\n\r\n"), /^HTTP\/1\.1 400 /, "no host");
  });
});

/** Sends text over TLS and collects what comes until the other side closes. */
function raw(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: server.address.port, ca: server.caPem }, () =>
      socket.write(text),
    );
    let got = "";
    socket.setEncoding("utf8");
    socket.on("data", (part: string) => (got += part));
    socket.on("close", () => resolve(got));
    socket.on("error", (error: NodeJS.ErrnoException) =>
      error.code === "ECONNRESET" ? resolve(got) : reject(error),
    );
    socket.setTimeout(5000, () => reject(new Error("the server kept the connection")));
  });
}

describe("connections", () => {
  it("beyond the limit are turned away, and those inside it go on", async () => {
    const other = await World.create();
    const small = await other.start({ limits: { connectionsPerAddress: 5 } });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    assert.equal((await ask("/repository/metadata/timestamp.json", { agent }, small)).status, 200);
    const sockets: TLSSocket[] = [];
    let refused = 0;
    for (let i = 0; i < 12; i++) {
      await new Promise<void>((resolve) => {
        const socket = connect({ host: "127.0.0.1", port: small.address.port, ca: small.caPem }, resolve);
        socket.once("error", () => {
          refused++;
          resolve();
        });
        sockets.push(socket);
      });
    }
    assert.equal(refused, 8);
    assert.equal((await ask("/repository/metadata/timestamp.json", { agent }, small)).status, 200);
    for (const socket of sockets) socket.destroy();
    agent.destroy();
    await small.stop();
    other.remove();
  });
});

describe("handshakes", () => {
  it("of one address are bounded, and its open connections go on (handshake flood)", async () => {
    const other = await World.create();
    const small = await other.start({ limits: { handshakes: { burst: 5, refillMs: 60_000 } } });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const path = "/repository/metadata/timestamp.json";
    assert.equal((await ask(path, { agent }, small)).status, 200);
    const results = await Promise.allSettled(Array.from({ length: 60 }, () => ask(path, {}, small)));
    assert.equal(results.filter((r) => r.status === "fulfilled").length, 4);
    assert.equal((await ask(path, { agent }, small)).status, 200);
    const told = other.lines.filter((line) => line.event === "connection/refused");
    assert.equal(told.length, 20, "and the log is not flooded");
    agent.destroy();
    await small.stop();
    other.remove();
  });
});

describe("wake-ups", () => {
  const listen = (device: Device, after: number | null) => {
    const heard: Wake[] = [];
    const abort = new AbortController();
    const done = (async () => {
      for await (const wake of device.client.wakes(after, abort.signal))
        if (wake.type === "check") heard.push(wake);
    })().catch(() => {});
    return { heard, stop: () => (abort.abort(), done), done };
  };
  const newDevice = async (group: string): Promise<Device> =>
    enroll(server, await world.token(server, group));

  it("come when another process changes what a group should run, and to that group only", async () => {
    const [mine, theirs] = [await newDevice("one"), await newDevice("two")];
    const [a, b] = [listen(mine, (await checkIn(mine)).seq), listen(theirs, (await checkIn(theirs)).seq)];
    await eventually("both listen", async () => (await metric("upkeep_listeners")) === 2);
    await world.withStore((store) =>
      store.transaction((r) =>
        assign(r, Date.now(), { group: "one", product: "shop", channel: "stable", create: true }),
      ),
    );
    await eventually("one is woken", () => a.heard.length === 1);
    assert.equal(b.heard.length, 0);
    await Promise.all([a.stop(), b.stop()]);
    for (const device of [mine, theirs]) device.client.close();
  });

  it("come when a new release is promoted, and the check-in then names it", async () => {
    const device = await newDevice("one");
    const { heard, stop } = listen(device, (await checkIn(device)).seq);
    await eventually("it listens", async () => (await metric("upkeep_listeners")) === 1);
    const release = await world.promote("shop", "stable", "1.1.0");
    await eventually("it is woken", () => heard.length === 1);
    assert.deepEqual(assigned(await checkIn(device)).components, [
      { product: "shop", channel: "stable", release },
    ]);
    await stop();
    device.client.close();
  });

  it("that were missed come at once on the next stream, the newest only", async () => {
    const device = await newDevice("three");
    const { seq } = await checkIn(device);
    for (const scope of ["all", "group:three", `device:${device.id}`] as const) {
      await world.withStore((store) => store.transaction((r) => wakeNow(r, Date.now(), scope)));
    }
    await server.refresh();
    const newest = (await checkIn(device)).seq;
    assert.ok(newest >= seq + 3);
    const { heard, stop } = listen(device, seq);
    await eventually("it is told", () => heard.length > 0);
    assert.deepEqual(heard, [{ type: "check", seq: newest }]);
    await stop();
    device.client.close();
  });

  it("come by long poll too, and 204 says that there was none", async () => {
    const device = await newDevice("four");
    const { seq } = await checkIn(device);
    const options = { ...connectOptions(device.server, device.identity), agent: false } as RequestOptions;
    assert.equal((await ask(`/v1/wake?after=${seq}&wait=1`, options)).status, 204);
    const waiting = ask(`/v1/wake?after=${seq}&wait=20`, options);
    await eventually("it waits", async () => (await metric("upkeep_listeners")) === 1);
    const woken = await world.withStore((store) =>
      store.transaction((r) => wakeNow(r, Date.now(), `device:${device.id}`)),
    );
    const reply = await waiting;
    assert.ok(woken > seq);
    assert.deepEqual(JSON.parse(reply.body.toString()), { type: "check", seq: woken });
    for (const query of ["wait=0", "wait=1&wait=2", "after=-1", "url=x", "wait=1000"]) {
      assert.equal((await ask(`/v1/wake?${query}`, options)).status, 400, query);
    }
    device.client.close();
  });

  it("keep one stream per device: the newer takes over", async () => {
    const device = await newDevice("five");
    const first = listen(device, 0);
    await eventually("it listens", async () => (await metric("upkeep_listeners")) === 1);
    const again = { ...device, client: openServerClient(device.server, device.identity) };
    const second = listen(again, 0);
    await first.done;
    assert.equal(await metric("upkeep_listeners"), 1);
    await second.stop();
    for (const one of [device, again]) one.client.close();
  });
});

const metric = async (name: string): Promise<number> => {
  const { body } = await admin("/metrics");
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(body)?.[1] ?? Number.NaN);
};

function admin(path: string, method = "GET"): Promise<{ status: number; body: string }> {
  const { port } = server.admin as { port: number };
  return new Promise((resolve, reject) => {
    const request = plainRequest({ host: "127.0.0.1", port, path, method, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => (body += part));
      response.on("end", () => resolve({ status: response.statusCode!, body }));
    });
    request.on("error", reject);
    request.end();
  });
}

describe("the admin plane", () => {
  it("tells health and metrics in the Prometheus form, and nothing of it is on the device plane", async () => {
    assert.deepEqual(await admin("/healthz"), { status: 200, body: "ok\n" });
    assert.deepEqual(await admin("/readyz"), { status: 200, body: "ready\n" });
    const { body } = await admin("/metrics");
    for (const line of body.trimEnd().split("\n")) {
      assert.match(
        line,
        /^(?:# (?:HELP|TYPE) [a-z_]+ .+|[a-z_]+(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? -?[\d.e+]+)$/,
      );
    }
    assert.match(body, /^upkeep_devices\{state="online"\} \d+$/m);
    for (const path of ["/metrics", "/healthz", "/readyz"]) assert.equal((await ask(path)).status, 404);
    assert.equal((await admin("/v1/check-in", "POST")).status, 405);
  });

  it("says why the server is not ready", async () => {
    const other = await World.create();
    other.write("metadata/timestamp.json", "{}");
    const broken = await other.start({ admin: { path: join(other.data, "admin.sock") } });
    const reply = await new Promise<string>((resolve, reject) => {
      const request = plainRequest(
        { socketPath: join(other.data, "admin.sock"), path: "/readyz" },
        (response) => {
          response.setEncoding("utf8");
          response.on("data", (part: string) => resolve(`${response.statusCode} ${part}`));
        },
      );
      request.on("error", reject);
      request.end();
    });
    assert.match(reply, /^503 the repository cannot be verified: The timestamp metadata is malformed/);
    await broken.stop();
    other.remove();
  });
});

describe("the description", () => {
  it("is OpenAPI 3.1 of the very table the server runs on", async () => {
    const { status, body } = await ask("/v1/openapi.json");
    assert.equal(status, 200);
    const api = JSON.parse(body.toString()) as { openapi: string; paths: Record<string, unknown> };
    assert.equal(api.openapi, "3.1.0");
    for (const path of ["/v1/enroll", "/v1/check-in", "/v1/reports", "/v1/certificate", "/v1/wake"]) {
      assert.ok(path in api.paths, path);
    }
    // What the server can send to a device has no word for a place or a command.
    const answers = Object.values(api.paths).map(
      (path) => (path as { post?: { responses: { 200: unknown } } }).post?.responses[200],
    );
    assert.deepEqual(
      [...new Set(namesIn(answers))].sort().join(" "),
      // `server` with `version` and `features` says who speaks, `needs` what a reader has to know, `mark` comes back as it is.
      "assignment auditHead certificates challenge code device features final hash interval lease license licenses mark message messageKey needs notEntitled receipts result results seq sequence server sha256 signature usage version",
    );
  });
});

/** Every member name that the schemas below a value define. */
function namesIn(value: unknown): readonly string[] {
  if (typeof value !== "object" || value === null) return [];
  const own = "properties" in value ? Object.keys(value.properties as object) : [];
  return [...own, ...Object.values(value).flatMap(namesIn)];
}

describe("a stop", () => {
  it("ends streams with a hint, lets transfers finish, and takes no new connection", async () => {
    const other = await World.create();
    const stopping = await other.start({ limits: { drain: 5000 } });
    const large = Buffer.alloc(24_000_000, "x");
    other.write("targets/large.bin", large);
    const device = await enroll(stopping, await other.token(stopping));
    await other.withStore((store) =>
      store.transaction((r) => configureGroup(r, Date.now(), { group: "default", interval: 60 })),
    );

    let stream = "";
    const opened = new Promise<void>((resolve, reject) => {
      const options = { ...connectOptions(device.server, device.identity), agent: false, path: "/v1/wake" };
      const request = httpsRequest(options as RequestOptions, (response) => {
        response.setEncoding("utf8");
        response.on("data", (part: string) => (stream += part));
        response.on("error", reject);
        resolve();
      });
      request.on("error", reject);
      request.end();
    });
    await opened;

    let got = 0;
    const transfer = new Promise<void>((resolve, reject) => {
      const request = httpsRequest(
        {
          host: "127.0.0.1",
          port: stopping.address.port,
          ca: stopping.caPem,
          path: "/repository/targets/large.bin",
          agent: false,
        },
        (response) => {
          response.on("data", (part: Buffer) => {
            got += part.length;
            // A reader that takes its time.
            response.pause();
            setTimeout(() => response.resume(), 1);
          });
          response.on("end", resolve);
          response.on("error", reject);
        },
      );
      request.on("error", reject);
      request.end();
    });
    await eventually("the transfer is under way", () => got > 0);
    const stopped = stopping.stop();
    await eventually("the listener is sent away", () => stream.includes("retry:"));
    await transfer;
    assert.equal(got, large.length, "not a byte is missing");
    await stopped;
    await assert.rejects(ask("/repository/metadata/timestamp.json", {}, stopping), { code: "ECONNREFUSED" });
    assert.match(stream, /^retry: \d+$/m);
    device.client.close();
    other.remove();
  });
});
