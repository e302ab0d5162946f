// The alert desk: tells people of alarms by webhook and by mail, as alerts.toml in the server's folder asks, each at least once.

import { createHmac } from "node:crypto";
import { parse as parseToml } from "smol-toml";
import type { Clock } from "../../core/clock.ts";
import { fromUtf8 } from "../../core/bytes.ts";
import { readOrNull, type Disk } from "../../core/disk.ts";
import type { Json } from "../../core/json.ts";
import { checkSchema, nameSchema, z } from "../../core/schema.ts";
import { alertsSince, noteTold, toldTo, type Alert } from "../../fleet/alerts.ts";
import type { FleetStore } from "../../fleet/store.ts";
import type { Log } from "../../io/system/log.ts";
import type { Metrics } from "./metrics.ts";

const LIMIT = 64 * 1024;
const CALL_TIMEOUT = 10_000;

const addressSchema = z
  .string()
  .check(z.regex(/^[^\s@<>]{1,64}@[^\s@<>]{1,255}$/, "expected a mail address"));
const webhookSchema = z.strictObject({
  name: nameSchema,
  /** HTTPS, or HTTP to this machine. */
  url: z
    .string()
    .check(
      z.maxLength(1024),
      z.regex(
        /^(?:https:\/\/|http:\/\/(?:127\.0\.0\.1|localhost|\[::1\])[:/])/,
        "expected an https:// address, or http:// on this machine",
      ),
    ),
  /** Signs each body: HMAC-SHA256 in the field upkeep-signature. */
  secret: z.exactOptional(z.string().check(z.minLength(16), z.maxLength(256))),
});
const mailSchema = z.strictObject({
  name: nameSchema,
  from: addressSchema,
  to: z.array(addressSchema).check(z.minLength(1), z.maxLength(20)),
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  port: z.number().check(z.int(), z.minimum(1), z.maximum(65_535)),
  /** `tls`: from the first byte; `starttls`: demanded; `none`: only to this machine. */
  security: z.enum(["tls", "starttls", "none"]),
  user: z.exactOptional(z.string()),
  password: z.exactOptional(z.string()),
});
const settingsSchema = z.strictObject({
  webhook: z.exactOptional(z.array(webhookSchema).check(z.maxLength(8))),
  mail: z.exactOptional(z.array(mailSchema).check(z.maxLength(8))),
});
export type AlertSettings = z.infer<typeof settingsSchema>;
type Webhook = z.infer<typeof webhookSchema>;
type Mail = z.infer<typeof mailSchema>;

export const ALERTS_FILE = "alerts.toml";

type AlertParts = {
  readonly store: FleetStore;
  /** The operator's data folder. */
  readonly data: string;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly log: Log;
  readonly metrics: Metrics;
};

export class AlertDesk {
  readonly #parts: AlertParts;
  #complaint = "";

  constructor(parts: AlertParts) {
    this.#parts = parts;
  }

  /** Tells every way what it was not told. One that fails is asked again at the next look, and keeps no other from anything. */
  async look(signal: AbortSignal): Promise<void> {
    const settings = await this.#settings();
    if (settings === null) return;
    for (const webhook of settings.webhook ?? [])
      await this.#tell(`webhook/${webhook.name}`, (alerts) => postWebhook(webhook, alerts, signal));
    for (const mail of settings.mail ?? [])
      await this.#tell(`mail/${mail.name}`, (alerts) => sendMail(mail, alerts));
  }

  async #tell(way: string, send: (alerts: readonly Alert[]) => Promise<void>): Promise<void> {
    const { store, clock, log, metrics } = this.#parts;
    // A second back: what is written with the time of this moment may not stand there yet.
    const now = clock.now() - 1000;
    const since = await store.read((records) => toldTo(records, way));
    if (since !== null) {
      const alerts = await store.read((records) => alertsSince(records, since, now));
      if (alerts.length === 0) return;
      try {
        await send(alerts);
        metrics.count("upkeep_alerts_total", { way, result: "told" }, alerts.length);
      } catch (error) {
        metrics.count("upkeep_alerts_total", { way, result: "failed" });
        log("warn", "alerts/not-told", { way, alerts: alerts.length, reason: String(error).slice(0, 300) });
        return;
      }
    }
    await store.transaction((records) => noteTold(records, way, now));
  }

  /** Null without a file, and while it cannot be read, which is told once. */
  async #settings(): Promise<AlertSettings | null> {
    const { disk, data, log } = this.#parts;
    const path = `${data}/server/${ALERTS_FILE}`;
    try {
      const bytes = await readOrNull(disk, path, LIMIT);
      const settings = bytes === null ? null : readAlertSettings(bytes);
      this.#complaint = "";
      return settings;
    } catch (error) {
      const reason = error instanceof Error ? error.message.slice(0, 500) : String(error);
      if (reason !== this.#complaint) log("error", "alerts/bad-settings", { path, reason });
      this.#complaint = reason;
      return null;
    }
  }
}

/** Errors: `schema/invalid`, and that of the TOML reader. */
export function readAlertSettings(bytes: Uint8Array): AlertSettings {
  const settings = checkSchema(settingsSchema, parseToml(fromUtf8(bytes)) as Json, ALERTS_FILE);
  for (const { name, host, security } of settings.mail ?? [])
    if (security === "none" && !["127.0.0.1", "::1", "localhost"].includes(host))
      throw new Error(`mail ${name}: without TLS, mail goes to this machine only.`);
  return settings;
}

async function postWebhook(
  { url, secret }: Webhook,
  alerts: readonly Alert[],
  stop: AbortSignal,
): Promise<void> {
  const body = JSON.stringify({ format: 1, alerts });
  const signature = secret === undefined ? null : createHmac("sha256", secret).update(body).digest("hex");
  const answer = await fetch(url, {
    method: "POST",
    // Whoever answers with another address does not choose where the fleet's alarms go.
    redirect: "error",
    headers: {
      "content-type": "application/json",
      ...(signature === null ? {} : { "upkeep-signature": `sha256=${signature}` }),
    },
    body,
    signal: AbortSignal.any([stop, AbortSignal.timeout(CALL_TIMEOUT)]),
  });
  await answer.body?.cancel();
  if (!answer.ok) throw new Error(`${new URL(url).host} answered with status ${answer.status}`);
}

async function sendMail(
  { from, to, host, port, security, user, password }: Mail,
  alerts: readonly Alert[],
): Promise<void> {
  // Loaded when a mail is sent: most fleets send none.
  const { createTransport } = await import("nodemailer");
  const transport = createTransport({
    host,
    port,
    secure: security === "tls",
    requireTLS: security === "starttls",
    ignoreTLS: security === "none",
    connectionTimeout: CALL_TIMEOUT,
    socketTimeout: CALL_TIMEOUT,
    disableFileAccess: true,
    disableUrlAccess: true,
    ...(user === undefined ? {} : { auth: { user, pass: password ?? "" } }),
  });
  const [first] = alerts;
  const more = alerts.length === 1 ? "" : ` and ${alerts.length - 1} more`;
  try {
    await transport.sendMail({
      from,
      to: [...to],
      subject: `[upkeep] ${first!.event === "alarm-began" ? first!.code : `over: ${first!.code}`} on ${oneLine(first!.name)}${more}`,
      text: `${alerts.map(lineOf).join("\n")}\n`,
    });
  } finally {
    transport.close();
  }
}

function lineOf({ at, event, name, device, code, about, detail }: Alert): string {
  const what = event === "alarm-began" ? "began" : "is over";
  return `${at} ${code}${about === "" ? "" : ` (${about})`} ${what} on ${oneLine(name)} (${device}): ${detail}`;
}

/** A device's name is its own words: no header field begins in it. */
function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").slice(0, 128);
}
