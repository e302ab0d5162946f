// The gateway program: reads its configuration, relays, reports counters, reloads on SIGHUP.

import { fromUtf8 } from "../../core/bytes.ts";
import { systemClock } from "../../io/system/clock.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { leaveNothingInCoreFiles } from "../../io/system/hardening.ts";
import { reportCrashes } from "../../io/system/crash.ts";
import { descriptors } from "../../io/system/descriptors.ts";
import { endWithin } from "../../io/system/end-within.ts";
import { jsonLog } from "../../io/system/log.ts";
import { refuseExposed } from "../../io/system/exposure.ts";
import { LogFile } from "../../io/system/log-file.ts";
import { identityFromPem } from "../../io/signing/pinned-tls.ts";
import { systemRandom } from "../../io/system/random.ts";
import { parseGatewayConfig } from "../../signing/wire/gateway-config.ts";
import { startRelay } from "../../io/signing/relay.ts";
import { serveMetrics } from "../../io/http/metrics-page.ts";
import { prometheusText, type Counters } from "../../signing/wire/gateway-metrics.ts";
import { levelled } from "../signer/levels.ts";

const COUNTERS_EVERY = 60_000;
/** Milliseconds from the signal to the end of the process, whatever hangs. */
const STOP_AT_MOST = 20_000;

/** Runs until `signal` aborts. Errors: `signing/bad-config`, `signing/log-file`, `disk/*`, and what the listeners say. */
export async function runGateway(given: {
  readonly folder: string;
  readonly signal: AbortSignal;
  /** Where it listens, with the ports that a `0` became. */
  readonly ready: (listens: {
    readonly clients: number;
    readonly signers: number;
    readonly hosts: { readonly clients: string; readonly signers: string };
  }) => void;
}): Promise<void> {
  leaveNothingInCoreFiles();
  const path = `${given.folder}/gateway.toml`;
  await refuseExposed(given.folder, ["gateway.toml", "identity.pem"]);
  const read = async () => parseGatewayConfig(fromUtf8(await systemDisk.read(path, 1024 * 1024)), path);
  const pem = fromUtf8(await systemDisk.read(`${given.folder}/identity.pem`, 64 * 1024));
  const identity = await identityFromPem(pem, systemClock, systemRandom);
  let config = await read();
  const logFile = new LogFile(config.service);
  const say = levelled(jsonLog(systemClock, logFile.write), () => config.service["log-level"]);
  reportCrashes({ program: "gateway", clock: systemClock, say, folder: `${given.folder}/crashes` });
  const relay = await startRelay(config, identity, { clock: systemClock, random: systemRandom, say });
  const counters = (): Counters => {
    const held = descriptors();
    return {
      ...relay.counters(),
      ...(held === null ? {} : { descriptors: held.open, descriptorsAllowed: held.limit }),
    };
  };
  const { metrics: endpoint } = config.listen;
  const page =
    endpoint === undefined
      ? null
      : await serveMetrics(endpoint, {
          metrics: () => prometheusText(counters()),
          status: () => JSON.stringify(counters()),
        });
  const { clients, signers } = config.listen;
  given.ready({
    clients: relay.clients,
    signers: relay.signers,
    hosts: { clients: hostOf(clients), signers: hostOf(signers) },
  });
  const reload = async (): Promise<void> => {
    try {
      // First the file under its old name: whoever moved it away waits for its successor, however bad the configuration is.
      logFile.reopen();
      const next = await read();
      logFile.reopen(next.service);
      config = next;
      relay.reconfigure(config);
      say("info", "reloaded");
    } catch (error) {
      say("error", "reload-refused", { what: String((error as Error).message) });
    }
  };
  const onHangUp = (): void => void reload();
  process.on("SIGHUP", onHangUp);
  const report = setInterval(() => say("info", "counters", { ...counters() }), COUNTERS_EVERY);
  await new Promise<void>((done) =>
    given.signal.aborted ? done() : given.signal.addEventListener("abort", () => done()),
  );
  clearInterval(report);
  process.off("SIGHUP", onHangUp);
  say("info", "stopped", { ...counters() });
  endWithin(STOP_AT_MOST, () => say("error", "stop-forced"));
  await page?.close();
  await relay.close();
  logFile.close();
}

function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(":"));
}
