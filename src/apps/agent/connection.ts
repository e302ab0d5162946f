// The device's conversation with its server, and the renewal of the certificate by which it is known there.

import { sentenceOf } from "../../agent/errors.ts";
import type { UpdateServer, World } from "../../agent/ports.ts";
import { fromBase64, toBase64 } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { CheckInAnswer, CheckInRequest } from "../../message/check-in.ts";
import { formatInstant, HOUR } from "../../core/instant.ts";
import { buildCsr } from "../../der/csr.ts";
import { commonName } from "../../der/names.ts";
import { toPem } from "../../der/pem.ts";
import { renewalTime } from "../../identity/authority.ts";
import {
  adoptRenewed,
  datesOf,
  dropRenewed,
  newTlsKey,
  saveRenewed,
  tlsSigner,
  type StoredIdentity,
} from "../../io/device/device-identity.ts";
import { openServerClient, type ServerClient } from "../../io/device/server-client.ts";
import type { ClientIdentity } from "../../io/device/tls.ts";
import type { DeviceTrust } from "./trust.ts";
import { refuseUnusable } from "./usable-certificate.ts";

/** A certificate that is not used is asked for again so much later, not at every check. */
const PAUSE = HOUR;

export type Connection = UpdateServer & {
  /** The certificate in use. */
  readonly client: ClientIdentity;
  /** Ends what is open: the next call connects by the trust of then. */
  reconnect(): void;
  close(): void;
};

/** A check-in as servers took it from the first version on. */
function withoutNews(asked: CheckInRequest): CheckInRequest {
  const {
    mark: _mark,
    agent: _agent,
    auditHead: _head,
    licenses: _licenses,
    messageKey: _key,
    updates: _updates,
    alarms: _alarms,
    components,
    ...request
  } = asked;
  return { ...request, components: components.map(({ product, version }) => ({ product, version })) };
}

/**
 * `folder` is the identity folder. A renewed certificate is kept beside the one in use until the server has answered a call that was made
 * with it (`changed` hears of that): whatever is wrong with it, the device is never without one that opened something before.
 */
export function openConnection(
  folder: string,
  identity: Pick<StoredIdentity, "client" | "renewed">,
  trust: () => Pick<DeviceTrust, "server" | "bundleSha256" | "isOutgoing">,
  world: Pick<World, "disk" | "clock" | "log" | "program">,
  dial: typeof openServerClient = openServerClient,
  changed: () => void = () => {},
): Connection {
  let { client: own, renewed } = identity;
  let open: ServerClient | null = null;
  /** With the renewed certificate, beside the one in use, whose wake-up stream goes on. */
  let trial: ServerClient | null = null;
  /** The bundle for which this device has a certificate of the authority that issued then. */
  let replacedFor: string | null = null;
  /** Monotonic: nothing is asked for before. */
  let notBefore = 0;
  /** A renewal was asked for before its time. */
  let asked = false;
  /** True once the server refused what servers of the first version do not know. */
  let plain = false;
  const reconnect = (): void => {
    open?.close();
    trial?.close();
    open = trial = null;
  };
  const client = (): ServerClient => (open ??= dial(trust().server, own));

  const renew = async (signal: AbortSignal): Promise<void> => {
    const { bundleSha256 } = trust();
    // Asked for once: whatever comes of it, the schedule of renewals goes on.
    asked = false;
    const key = newTlsKey();
    const csr = await buildCsr({ subject: commonName("upkeep device"), signer: tlsSigner(key) });
    const { certificates } = await client().call(
      "renew",
      { agent: world.program, csr: toBase64(csr) },
      signal,
    );
    const made = {
      key,
      certificates: certificates.map((der) => toPem("CERTIFICATE", fromBase64(der))).join(""),
    };
    refuseUnusable(made.certificates, world.clock.now(), "The certificate in use is kept.");
    await saveRenewed(world.disk, folder, made);
    renewed = made;
    replacedFor = bundleSha256;
  };

  /** From half of its life on (spec/wire.md); an authority on its way out is asked to be replaced once per bundle. */
  const isDue = (): boolean => {
    if (renewed !== null || world.clock.monotonic() < notBefore) return false;
    if (asked) return true;
    const now = world.clock.now();
    const dates = datesOf(own.certificates);
    // One that is not good yet was issued while a clock was ahead; its key is good all the same, and gets another.
    if (now >= renewalTime(dates) || now < dates.notBefore) return true;
    return trust().isOutgoing(own.certificates) && replacedFor !== trust().bundleSha256;
  };

  const settle = async (): Promise<void> => {
    await adoptRenewed(world.disk, folder);
    own = renewed!;
    renewed = null;
    changed();
    open?.close();
    open = trial;
    trial = null;
    const expires = formatInstant(datesOf(own.certificates).notAfter);
    world.log({ level: "info", event: "certificate-renewed", expires });
  };
  const giveUp = async (error: UpkeepError): Promise<void> => {
    renewed = null;
    trial?.close();
    trial = null;
    notBefore = world.clock.monotonic() + PAUSE;
    await dropRenewed(world.disk, folder);
    const message = `The server accepts the certificate in use and not the renewed one, which is dropped: ${sentenceOf(error)}`;
    world.log({ level: "warn", event: "certificate-not-renewed", code: error.code, message });
  };

  const checkInBy = async (
    by: ServerClient,
    request: CheckInRequest,
    signal: AbortSignal,
  ): Promise<CheckInAnswer> => {
    if (plain) return by.call("checkIn", withoutNews(request), signal);
    try {
      return await by.call("checkIn", request, signal);
    } catch (error) {
      // A server from before these members refuses what it does not know; it is asked in its own words until this agent starts again.
      if (!(error instanceof UpkeepError) || error.facts["code"] !== "schema/invalid") throw error;
      const answer = await by.call("checkIn", withoutNews(request), signal);
      plain = true;
      const message =
        "The server is older than this agent and takes no marks: it notices no clones of this device.";
      world.log({ level: "warn", event: "old-server", message });
      return answer;
    }
  };

  return {
    get client() {
      return own;
    },
    checkIn: async (request, signal) => {
      if (isDue()) {
        // The old one is good for a while yet: a failed renewal is told and tried again later.
        await renew(signal).catch((error: unknown) => {
          if (!(error instanceof UpkeepError)) throw error;
          if (error.code === "agent/unusable-certificate") notBefore = world.clock.monotonic() + PAUSE;
          const { code } = error;
          world.log({ level: "warn", event: "certificate-not-renewed", code, message: sentenceOf(error) });
        });
      }
      if (renewed === null) return checkInBy(client(), request, signal);
      let failed: UpkeepError;
      try {
        trial ??= dial(trust().server, renewed);
        const answer = await checkInBy(trial, request, signal);
        await settle();
        return answer;
      } catch (error) {
        if (!(error instanceof UpkeepError) || signal.aborted) throw error;
        failed = error;
      }
      // Not reached, or not accepted: the one before tells which, and goes on being good.
      const answer = await checkInBy(client(), request, signal);
      await giveUp(failed);
      return answer;
    },
    sendReports: async (envelopes, signal) => {
      const reports = envelopes.map((bytes) => toBase64(bytes));
      return (await client().call("reports", { reports }, signal)).results;
    },
    licensing: {
      challenge: async (signal) => (await client().call("licenseChallenge", {}, signal)).challenge,
      activate: async (request, signal) => {
        const answer = await client().call("licenseActivate", { request: toBase64(request) }, signal);
        return { license: fromBase64(answer.license), lease: fromBase64(answer.lease) };
      },
      report: async ({ receipts, usage }, signal) =>
        client().call(
          "licenseReports",
          {
            receipts: receipts.map((bytes) => toBase64(bytes)),
            usage: usage.map((bytes) => toBase64(bytes)),
          },
          signal,
        ),
    },
    wakeUps: (after, signal, sealedAfter = null) => client().wakes(after, signal, sealedAfter),
    renewSoon: () => {
      asked = true;
    },
    reconnect,
    close: reconnect,
  };
}
