// Which connections go through a proxy, and that its name and password are shown to nobody else.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ProxyFailure } from "./failure.ts";
import { DIRECT, exceptions, proxiesAt, proxiesFrom, readProxy } from "./proxies.ts";

const target = { host: "updates.example", port: 8443 };

describe("the proxy of a connection", () => {
  it("is that of its kind, the lower-case variable before the upper-case one", () => {
    const env = {
      HTTPS_PROXY: "http://upper:1",
      https_proxy: "http://lower:2",
      HTTP_PROXY: "http://plain:3",
    };
    const proxies = proxiesFrom(env);
    assert.equal(proxies.through("https", target)!.name, "http://lower:2");
    assert.equal(proxies.through("http", target)!.name, "http://plain:3");
    assert.equal(proxiesFrom({ HTTP_PROXY: "http://plain:3" }).through("https", target), null);
    assert.equal(proxiesFrom({ HTTPS_PROXY: " " }).through("https", target), null);
    assert.equal(DIRECT.through("https", target), null);
  });

  it("of the settings is for everything but what is named", () => {
    const proxies = proxiesAt("http://p:3128", ["example"]);
    assert.equal(proxies.through("https", target), null);
    assert.equal(proxies.through("http", { host: "elsewhere", port: 80 })!.host, "p");
  });

  it("is not used for what NO_PROXY names", () => {
    const proxies = proxiesFrom({ HTTPS_PROXY: "p:3128", NO_PROXY: "localhost, .example" });
    assert.equal(proxies.through("https", target), null);
    assert.equal(proxies.through("https", { host: "example.org", port: 443 })!.port, 3128);
  });
});

describe("an exception", () => {
  for (const [entry, host, port, direct] of [
    ["*", "anything", 1, true],
    ["example.org", "example.org", 1, true],
    ["example.org", "EXAMPLE.org.", 1, true],
    ["example.org", "a.b.example.org", 1, true],
    ["example.org", "notexample.org", 1, false],
    [".example.org", "example.org", 1, true],
    ["*.example.org", "a.example.org", 1, true],
    ["example.org:8443", "example.org", 8443, true],
    ["example.org:8443", "example.org", 443, false],
    ["10.0.0.0/8", "10.1.2.3", 1, true],
    ["10.0.0.0/8", "11.1.2.3", 1, false],
    ["10.0.0.0/99", "10.1.2.3", 1, false],
    ["127.0.0.1", "127.0.0.1", 1, true],
    ["127.0.0.1", "127.0.0.2", 1, false],
    ["[::1]:8443", "::1", 8443, true],
    ["fd00::/8", "fd12::1", 1, true],
    ["fd00::/8", "10.0.0.1", 1, false],
    [".", "example.org", 1, false],
  ] as const) {
    it(`"${entry}" ${direct ? "holds" : "does not hold"} for ${host}:${port}`, () =>
      assert.equal(exceptions([entry])({ host, port }), direct));
  }
});

describe("the address of a proxy", () => {
  it("may lack its scheme and its port", () => {
    assert.deepEqual(
      [readProxy("p", "x").port, readProxy("p:81", "x").port, readProxy("https://p", "x").port],
      [80, 81, 443],
    );
    assert.equal(readProxy("https://p", "x").secure, true);
    assert.equal(readProxy("http://[::1]:3128", "x").host, "::1");
  });

  it("may hold a name and a password, which appear in no name", () => {
    const { authorization, name } = readProxy("http://me:s%40crt@p:3128", "x");
    assert.equal(authorization, `Basic ${Buffer.from("me:s@crt").toString("base64")}`);
    assert.equal(name, "http://p:3128");
  });

  for (const text of [
    "socks5://p:1080",
    "http://p:3128/path",
    "http://p:3128/?a=secret",
    "http://",
    "http://p:99999",
    "http://a%3Ab:secret@p",
    "http://%zz:secret@p",
  ]) {
    it(`${text} is refused without being shown`, () =>
      assert.throws(
        () => readProxy(text, "HTTPS_PROXY"),
        (error) =>
          error instanceof ProxyFailure &&
          !/secret|path/.test(error.message) &&
          /HTTPS_PROXY/.test(error.message),
      ));
  }
});
