// Through a proxy: TLS and its pins stay end to end, a proxy that fails is named, and its password is shown to nobody.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTcpServer, type AddressInfo } from "node:net";
import { after, before, beforeEach, describe, it } from "node:test";
import { createServer as createTlsServer } from "node:tls";
import { toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { UpkeepError } from "../../core/errors.ts";
import { readAll } from "../../mirror/source.ts";
import { startConnectProxy, type ConnectProxy } from "../../testing/connect-proxy.ts";
import { startFaultServer } from "../../testing/fault-server.ts";
import { newIdentity } from "../../testing/raw-relay.ts";
import { openServerClient } from "../device/server-client.ts";
import { findAuthority } from "../device/tls.ts";
import { connectPinned, serverOptions } from "../signing/pinned-tls.ts";
import { httpTimestamps } from "../signing/timestamp-transport.ts";
import { httpSource } from "../source/http.ts";
import { exchange } from "./exchange.ts";
import { DIRECT, proxiesAt, proxiesFrom, type Proxies } from "./proxies.ts";

const pem = (name: string): string =>
  readFileSync(new URL(`../../../test/vectors/tls/${name}`, import.meta.url), "utf8");
const ca = pem("ca.pem");
const pin = sha256Hex(new X509Certificate(ca).publicKey.export({ type: "spki", format: "der" }));
const tls = { cert: pem("server.pem"), key: pem("server.key") };
const SECRET = "s3cret-word";

let proxy: ConnectProxy;
let server: Awaited<ReturnType<typeof startFaultServer>>;
before(async () => {
  proxy = await startConnectProxy();
  server = await startFaultServer([["file", toUtf8("hello")]], tls);
});
after(async () => {
  await server.close();
  await proxy.close();
});
beforeEach(() => {
  proxy.manner = "honest";
  proxy.password = null;
  proxy.detour = null;
  proxy.seen.length = 0;
});

const withSecret = (): Proxies => proxiesFrom({ HTTPS_PROXY: proxy.url.replace("//", `//me:${SECRET}@`) });

async function read(proxies: Proxies, pins: readonly string[] = [pin]): Promise<Uint8Array> {
  const source = httpSource(server.url, { tls: { ca, pins }, proxies });
  try {
    return await readAll(source, "file", 100);
  } finally {
    source.close();
  }
}

async function failureOf(action: Promise<unknown>): Promise<UpkeepError> {
  try {
    await action;
  } catch (error) {
    assert.ok(error instanceof UpkeepError, String(error));
    let shown = JSON.stringify(error.toJSON());
    for (let at: unknown = error; at instanceof Error; at = at.cause) shown += `${at.message} ${at.stack}`;
    assert.ok(!shown.includes(SECRET) && !shown.includes("proxy-authorization"), "no secret is shown");
    return error;
  }
  return assert.fail("it did not fail");
}

describe("a source behind a proxy", () => {
  it("is asked through it, with a name and a password if it wants them", async () => {
    proxy.password = `me:${SECRET}`;
    assert.deepEqual(await read(withSecret()), toUtf8("hello"));
    assert.deepEqual(proxy.seen, [new URL(server.url).host]);
  });

  it("is asked directly when NO_PROXY names it", async () => {
    assert.deepEqual(await read(proxiesAt(proxy.url, ["127.0.0.0/8"])), toUtf8("hello"));
    assert.deepEqual(proxy.seen, []);
  });

  it("in the clear is asked with its whole address", async () => {
    const plain = await startFaultServer([["file", toUtf8("hello")]]);
    const source = httpSource(plain.url, {
      plainHttp: "allowed",
      proxies: proxiesFrom({ HTTP_PROXY: proxy.url }),
    });
    assert.deepEqual(await readAll(source, "file", 100), toUtf8("hello"));
    assert.deepEqual(proxy.seen, [`${plain.url}/file`]);
    source.close();
    await plain.close();
  });

  it("is not trusted when the proxy opens TLS (man in the middle)", async () => {
    const middle = await startFaultServer([["file", toUtf8("forged")]], {
      cert: pem("other-host.pem"),
      key: pem("other-host.key"),
    });
    proxy.detour = { host: "127.0.0.1", port: Number(new URL(middle.url).port) };
    assert.equal((await failureOf(read(withSecret()))).code, "mirror/untrusted");
    assert.equal(middle.requests.length, 0);
    await middle.close();
  });

  it("is not trusted without the pinned key, proxy or not", async () => {
    assert.equal((await failureOf(read(withSecret(), ["0".repeat(64)]))).code, "mirror/untrusted");
    assert.equal((await failureOf(read(DIRECT, ["0".repeat(64)]))).code, "mirror/untrusted");
  });

  for (const [manner, code, what] of [
    [
      "forbids",
      "mirror/unreachable",
      /the proxy http:\/\/127\.0\.0\.1:\d+ refused a connection to .* \(403\)/,
    ],
    ["hangs-up", "mirror/unreachable", /the proxy http:\/\/127\.0\.0\.1:\d+ cannot be used/],
    ["speaks-nonsense", "mirror/unreachable", /the proxy http:\/\/127\.0\.0\.1:\d+ cannot be used/],
    [
      "talks-first",
      "mirror/untrusted",
      /the proxy http:\/\/127\.0\.0\.1:\d+ sent bytes that were not asked for/,
    ],
  ] as const) {
    it(`names the proxy when it ${manner.replace("-", " ")}`, async () => {
      proxy.manner = manner;
      const error = await failureOf(read(withSecret()));
      assert.equal(error.code, code);
      assert.match(error.message, what);
      assert.equal(error.facts["proxy"], proxy.url);
    });
  }

  it("says that the proxy wants a password, or another one", async () => {
    proxy.password = "me:other";
    for (const proxies of [withSecret(), proxiesFrom({ https_proxy: proxy.url })]) {
      const error = await failureOf(read(proxies));
      assert.match(error.message, /wants to know who asks \(407\)/);
      assert.match(error.hint!, /NAME:PASSWORD/);
    }
  });

  it("says that nobody listens at the proxy, and which variable names what is none", async () => {
    const gone = await failureOf(read(proxiesFrom({ HTTPS_PROXY: "127.0.0.1:1" })));
    assert.match(gone.message, /the proxy http:\/\/127\.0\.0\.1:1 cannot be used \(ECONNREFUSED\)/);
    const odd = await failureOf(read(proxiesFrom({ HTTPS_PROXY: `socks5://me:${SECRET}@p` })));
    assert.equal(odd.code, "mirror/unreachable");
    assert.match(odd.message, /the proxy that HTTPS_PROXY names cannot be used: socks5 is not supported/);
  });
});

describe("a device behind a proxy", () => {
  const place = (): { host: string; port: number } => ({
    host: "127.0.0.1",
    port: Number(new URL(server.url).port),
  });
  const identity = () => ({ ...place(), authorities: [ca], pins: [pin] });
  const call = async (proxies: Proxies): Promise<unknown> => {
    const client = openServerClient(identity(), undefined, proxies);
    try {
      return await client.call("reports", { reports: [] });
    } finally {
      client.close();
    }
  };

  it("reaches its server, whose answer is its own", async () => {
    const { code } = await failureOf(call(withSecret()));
    assert.equal(code, "server/refused");
    assert.equal(proxy.seen.length, 1);
  });

  it("finds the authority of its server, and finds out who stands in between", async () => {
    // A chain without its authority: it is the pin that is not found.
    const { code } = await failureOf(findAuthority(place(), "0".repeat(64), undefined, withSecret()));
    assert.equal(code, "identity/wrong-server");
    assert.equal(proxy.seen.length, 1);
  });

  it("names the proxy when it fails", async () => {
    proxy.manner = "forbids";
    for (const action of [call(withSecret()), findAuthority(place(), pin, undefined, withSecret())]) {
      const error = await failureOf(action);
      assert.equal(error.code, "server/unreachable");
      assert.equal(error.facts["proxy"], proxy.url);
    }
  });
});

describe("a signing client behind a proxy", () => {
  it("reaches a gateway, and takes no other key for it", async () => {
    const gateway = await newIdentity();
    const listener = createTlsServer(serverOptions(gateway), (socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    const { port } = listener.address() as AddressInfo;
    const me = await newIdentity();
    const target = { host: "127.0.0.1", port, pin: gateway.spki };
    (await connectPinned(target, me, withSecret())).destroy();
    assert.deepEqual(proxy.seen, [`127.0.0.1:${port}`]);
    const other = await failureOf(connectPinned({ ...target, pin: me.spki }, me, withSecret()));
    assert.equal(other.code, "signing/wrong-peer");
    proxy.manner = "forbids";
    const refused = await failureOf(connectPinned(target, me, withSecret()));
    assert.equal(refused.code, "signing/unreachable");
    assert.equal(refused.facts["proxy"], proxy.url);
    listener.close();
    const gone = await failureOf(connectPinned(target, me));
    assert.match(gone.message, /nothing listens there|was cut/);
    assert.deepEqual([gone.facts["host"], gone.facts["port"]], ["127.0.0.1", port]);
  });

  it("tells of a gateway that lets it wait, in time", async () => {
    const silent = createTcpServer((socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const error = await failureOf(
      connectPinned({ host: "127.0.0.1", port, pin: "0".repeat(64) }, await newIdentity()),
    );
    silent.close();
    assert.match(error.message, /nothing came in time/);
  });
});

describe("a time-stamp authority behind a proxy", () => {
  it("is asked in the clear with its whole address; without the proxy it is told which of the two is away", async () => {
    const authority = createServer((incoming, response) => {
      incoming.resume().on("end", () => response.end("stamp"));
    });
    await new Promise<void>((resolve) => authority.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(authority.address() as AddressInfo).port}/tsa`;
    const ask = (proxies: Proxies) =>
      httpTimestamps(proxies, 2000).post(url, "application/timestamp-query", toUtf8("q"));
    const reply = await ask(proxiesFrom({ HTTP_PROXY: proxy.url }));
    assert.deepEqual([reply.status, Buffer.from(reply.body).toString()], [200, "stamp"]);
    assert.deepEqual(proxy.seen, [url]);
    authority.close();
    authority.closeAllConnections();
    await assert.rejects(ask(DIRECT), /127\.0\.0\.1:\d+ cannot be reached: nothing listens there/);
    await assert.rejects(ask(proxiesFrom({ HTTP_PROXY: "socks5://x" })), /the proxy that HTTP_PROXY names/);
    const off = proxiesFrom({ HTTP_PROXY: "127.0.0.1:1" });
    await assert.rejects(ask(off), /the proxy http:\/\/127\.0\.0\.1:1 cannot be used \(ECONNREFUSED\)/);
    proxy.password = "me:other";
    await assert.rejects(ask(proxiesFrom({ HTTP_PROXY: proxy.url })), /wants to know who asks \(407\)/);
  });
});

describe("a small question", () => {
  it("is bounded in time", async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/`;
    await assert.rejects(exchange({ url, limit: 10, timeout: 200, proxies: DIRECT }), {
      code: "network/slow",
    });
    silent.closeAllConnections();
    silent.close();
  });

  it("is not asked of a server whose certificate nobody vouches for", async () => {
    const error = await failureOf(exchange({ url: server.url, limit: 10, timeout: 2000, proxies: DIRECT }));
    assert.equal(error.code, "network/untrusted");
  });
});
