// The counters as a collector reads them.

import assert from "node:assert/strict";
import { request } from "node:http";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { parseGatewayConfig } from "../../signing/wire/gateway-config.ts";
import { parseCounters, prometheusText } from "../../signing/wire/gateway-metrics.ts";
import { RawRelay } from "../../testing/raw-relay.ts";
import { until } from "../../testing/signing-rig.ts";
import { serveMetrics } from "./metrics-page.ts";

type Got = { readonly status: number; readonly text: string };
function get(port: number, path: string, options: { host?: string; method?: string } = {}): Promise<Got> {
  return new Promise((resolve, reject) => {
    const { host = "127.0.0.1", method = "GET" } = options;
    const sent = request({ port, path, method, host: "127.0.0.1", headers: { host } }, (response) => {
      let text = "";
      response.on("data", (part: Buffer) => (text += part.toString()));
      response.on("end", () => resolve({ status: response.statusCode!, text }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

describe("a gateway's counters", () => {
  it("are read as Prometheus text and as JSON, and tell what happened", async () => {
    const raw = await RawRelay.start();
    const page = await serveMetrics("127.0.0.1:0", {
      metrics: () => prometheusText(raw.relay.counters()),
      status: () => JSON.stringify(raw.relay.counters()),
    });
    try {
      await raw.session();
      await raw.signer();
      await until("idle", () => raw.relay.counters().idle === 1);
      const { status, text } = await get(page.port, "/metrics");
      assert.equal(status, 200);
      assert.match(text, /^upkeep_gateway_sessions_active 1$/m);
      assert.match(text, /^upkeep_gateway_idle_connections\{signer="signer-1"\} 1$/m);
      for (const line of text.trim().split("\n")) assert.match(line, /^(# (HELP|TYPE) |upkeep_gateway_)/);
      const { sessions, idleBySigner } = parseCounters(toUtf8((await get(page.port, "/status.json")).text));
      assert.deepEqual([sessions, idleBySigner], [1, { "signer-1": 1 }]);
    } finally {
      await page.close();
      await raw.close();
    }
  });

  it("are all there is to read, only read, and only under a name of this machine", async () => {
    const page = await serveMetrics("127.0.0.1:0", { metrics: () => "m", status: () => "s" });
    try {
      assert.equal((await get(page.port, "/metrics")).text, "m");
      for (const path of ["/", "/metrics/", "/../metrics", "/__proto__", "/constructor"])
        assert.equal((await get(page.port, path)).status, 404, path);
      assert.equal((await get(page.port, "/metrics", { method: "POST" })).status, 404);
      assert.equal((await get(page.port, "/metrics", { host: "evil.example" })).status, 404);
    } finally {
      await page.close();
    }
  });

  it("are offered on loopback only", () => {
    const text = (metrics: string): string =>
      `version = 1\n[listen]\nclients = "0.0.0.0:1"\nsigners = "0.0.0.0:2"\nmetrics = "${metrics}"\n[signers]\n`;
    for (const good of ["127.0.0.1:7445", "[::1]:7445"]) parseGatewayConfig(text(good), "gateway.toml");
    for (const bad of ["0.0.0.0:7445", "10.0.0.1:7445", "localhost:7445", "[::]:7445"]) {
      assert.throws(() => parseGatewayConfig(text(bad), "gateway.toml"), {
        code: "signing/bad-config",
        message: /gateway\.toml:5: .*address of this machine/,
      });
    }
  });
});
