// Each way in which a connection fails is told with its place, in words that a person can act on.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { describe, it } from "node:test";
import { openStream, shake } from "./connect.ts";
import { type ConnectionError, connectionError, placeName, placeOf, ProxyFailure } from "./failure.ts";
import { DIRECT } from "./proxies.ts";

const place = { host: "updates.example", port: 8443 };
const coded = (code: string): Error => Object.assign(new Error(code), { code });
const NOW = Date.parse("2026-11-28T12:00:00Z");

describe("a failed connection", () => {
  const rows: readonly (readonly [code: string, kind: string, what: RegExp])[] = [
    ["ECONNREFUSED", "unreachable", /nothing listens there/],
    ["ENOTFOUND", "unreachable", /no such name is known/],
    ["EAI_AGAIN", "unreachable", /name cannot be looked up now/],
    ["EHOSTUNREACH", "unreachable", /no way to it from here/],
    ["EMFILE", "unreachable", /no room for another connection/],
    ["ECONNRESET", "unreachable", /the connection was cut/],
    ["ERR_SSL_WRONG_VERSION_NUMBER", "unreachable", /does not speak TLS/],
    ["ETIMEDOUT", "slow", /nothing came in time/],
    ["ERR_TLS_HANDSHAKE_TIMEOUT", "slow", /nothing came in time/],
    ["CERT_HAS_EXPIRED", "untrusted", /expired, if it is 2026-11-28T12:00:00Z as this machine's clock says/],
    ["CERT_NOT_YET_VALID", "untrusted", /not valid yet, if it is 2026-11-28T12:00:00Z/],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "untrusted", /for another name/],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", "untrusted", /no authority that is trusted here/],
    ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "untrusted", /no authority that is trusted here/],
    ["ERR_UPKEEP_PIN", "untrusted", /pinned key/],
    ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "untrusted", /does not accept the certificate/],
    ["ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION", "untrusted", /TLS 1\.3/],
    ["CERT_REVOKED", "untrusted", /cannot be trusted/],
    ["SOMETHING_NEW", "unreachable", /the connection failed \(SOMETHING_NEW\)/],
  ];
  for (const [code, kind, what] of rows) {
    it(`by ${code} is ${kind}, with host, port and what helps`, () => {
      const error = connectionError(coded(code), place, NOW);
      assert.equal(error.code, `network/${kind}`);
      assert.match(error.message, /^updates\.example:8443 /);
      assert.match(error.message, what);
      assert.deepEqual(error.facts, { ...place, reason: code });
      assert.ok((error.hint ?? "").length > 10);
    });
  }

  it("is looked for in the causes, and in each address that was tried", () => {
    const fetched = new TypeError("fetch failed", { cause: coded("ECONNREFUSED") });
    assert.equal(connectionError(fetched, place).facts["reason"], "ECONNREFUSED");
    const tried = new AggregateError([coded("ENETUNREACH"), coded("ECONNREFUSED")]);
    assert.equal(connectionError(tried, place).facts["reason"], "ENETUNREACH");
  });

  it("of a proxy names the proxy", () => {
    const cause = new ProxyFailure(
      "http://p:3128",
      "unreachable",
      "the proxy p is off",
      "ECONNREFUSED",
      "Look.",
    );
    const { code, message, facts, hint } = connectionError(cause, place);
    assert.deepEqual([code, hint, facts["proxy"]], ["network/unreachable", "Look.", "http://p:3128"]);
    assert.match(message, /the proxy p is off/);
  });

  it("that was translated stays as it is", () => {
    const first = connectionError(coded("ETIMEDOUT"), place);
    assert.equal(connectionError(first, { host: "other", port: 1 }), first);
  });
});

describe("a place", () => {
  it("has an address in brackets where it holds colons", () => {
    assert.equal(placeName({ host: "::1", port: 8443 }), "[::1]:8443");
    assert.equal(placeName(place), "updates.example:8443");
  });

  it("is read from an address with the port that its scheme means", () => {
    assert.deepEqual(placeOf(new URL("https://[::1]/x")), { host: "::1", port: 443 });
    assert.deepEqual(placeOf(new URL("http://a:81/x")), { host: "a", port: 81 });
    assert.deepEqual(placeOf(new URL("http://a/x")), { host: "a", port: 80 });
  });
});

describe("what really fails", () => {
  const fails = async (port: number, timeout: number, host = "127.0.0.1"): Promise<ConnectionError> => {
    try {
      const stream = await openStream({ host, port }, { proxies: DIRECT, timeout });
      (await shake(stream, { host, servername: "" }, timeout)).destroy();
    } catch (error) {
      return connectionError(error, { host, port });
    }
    return assert.fail("it did not fail");
  };
  const listener = async (serve: Parameters<typeof createServer>[1]) => {
    const server = createServer(serve);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { port: (server.address() as { port: number }).port, close: () => server.close() };
  };

  for (const [what, serve, code, reason] of [
    [
      "plain HTTP on the port",
      "HTTP/1.1 400 Bad Request\r\n\r\n",
      "network/unreachable",
      /does not speak TLS/,
    ],
    ["a listener that hangs up", null, "network/unreachable", /cut/],
    ["silence", undefined, "network/slow", /nothing came in time/],
  ] as const) {
    it(`is told for ${what}`, async () => {
      const { port, close } = await listener((socket) => {
        socket.on("error", () => {});
        if (serve === null) socket.destroy();
        else if (serve !== undefined) socket.end(serve);
      });
      try {
        const error = await fails(port, 500);
        assert.equal(error.code, code);
        assert.match(error.message, reason);
      } finally {
        close();
      }
    });
  }

  it("is told for a port that nobody listens at, and for a name that nobody knows", async () => {
    const { port, close } = await listener(() => {});
    close();
    assert.equal((await fails(port, 500)).facts["reason"], "ECONNREFUSED");
    const { code } = await fails(port, 5000, "no.such.invalid");
    assert.ok(["network/unreachable", "network/slow"].includes(code), code);
  });
});
