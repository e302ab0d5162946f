// The gateway program: reads its configuration, relays, reports counters, reloads on SIGHUP.

import { fromUtf8 } from "../../core/bytes.ts";
import { systemClock } from "../../io/clock.ts";
import { systemDisk } from "../../io/disk.ts";
import { leaveNothingInCoreFiles } from "../../io/hardening.ts";
import { jsonLog } from "../../io/log.ts";
import { identityFromPem } from "../../io/pinned-tls.ts";
import { systemRandom } from "../../io/random.ts";
import { parseGatewayConfig } from "../../signing/gateway-config.ts";
import { startRelay } from "../../io/relay.ts";
import { serveMetrics } from "../../io/metrics-page.ts";
import { prometheusText } from "../../signing/gateway-metrics.ts";

const COUNTERS_EVERY = 60_000;

/** Runs until `signal` aborts. Errors: `signing/bad-config`, `disk/*`, and what the listeners say. */
export async function runGateway(given: {
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly ready: (ports: { readonly clients: number; readonly signers: number }) => void;
}): Promise<void> {
  leaveNothingInCoreFiles();
  const path = `${given.folder}/gateway.toml`;
  const read = async () => parseGatewayConfig(fromUtf8(await systemDisk.read(path, 1024 * 1024)), path);
  const pem = fromUtf8(await systemDisk.read(`${given.folder}/identity.pem`, 64 * 1024));
  const identity = await identityFromPem(pem, systemClock, systemRandom);
  const say = jsonLog(systemClock);
  const config = await read();
  const relay = await startRelay(config, identity, { clock: systemClock, random: systemRandom, say });
  const { metrics: endpoint } = config.listen;
  const page =
    endpoint === undefined
      ? null
      : await serveMetrics(endpoint, {
          metrics: () => prometheusText(relay.counters()),
          status: () => JSON.stringify(relay.counters()),
        });
  given.ready(relay);
  const reload = (): void =>
    void read().then(
      (fresh) => {
        relay.reconfigure(fresh);
        say("info", "reloaded");
      },
      (error: unknown) => say("error", "reload-refused", { what: String((error as Error).message) }),
    );
  process.on("SIGHUP", reload);
  const report = setInterval(() => say("info", "counters", { ...relay.counters() }), COUNTERS_EVERY);
  await new Promise<void>((done) =>
    given.signal.aborted ? done() : given.signal.addEventListener("abort", () => done()),
  );
  clearInterval(report);
  process.off("SIGHUP", reload);
  say("info", "stopped", { ...relay.counters() });
  await page?.close();
  await relay.close();
}
