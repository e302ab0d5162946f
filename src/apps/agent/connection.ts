// The device's conversation with its server, and the renewal of the certificate by which it is known there.

import { sentenceOf } from "../../agent/errors.ts";
import type { UpdateServer, World } from "../../agent/ports.ts";
import { fromBase64, toBase64 } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { CheckInRequest } from "../../message/check-in.ts";
import { DAY } from "../../core/instant.ts";
import { buildCsr } from "../../der/csr.ts";
import { commonName } from "../../der/names.ts";
import { toPem } from "../../der/pem.ts";
import { newTlsKey, saveClient, tlsSigner, type StoredIdentity } from "../../io/device/device-identity.ts";
import { openServerClient, type ServerClient } from "../../io/device/server-client.ts";
import { X509Certificate } from "node:crypto";
import type { DeviceTrust } from "./trust.ts";

/** A third of a certificate's life: two tries in three may fail without harm. */
const RENEW_BEFORE = 15 * DAY;

export type Connection = UpdateServer & {
  /** Ends what is open: the next call connects by the trust of then. */
  reconnect(): void;
  close(): void;
};

/** A check-in as servers took it from the first version on. */
function withoutNews({ mark: _mark, components, ...request }: CheckInRequest): CheckInRequest {
  return { ...request, components: components.map(({ product, version }) => ({ product, version })) };
}

/** `folder` is the identity folder; a renewed certificate is written there before it is used. */
export function openConnection(
  folder: string,
  identity: StoredIdentity,
  trust: () => DeviceTrust,
  world: World,
): Connection {
  let { expires, client: own } = identity;
  let open: ServerClient | null = null;
  /** The bundle for which this device has a certificate of the authority that issued then. */
  let replacedFor: string | null = null;
  const client = (): ServerClient => (open ??= openServerClient(trust().server, own));
  let plain = false;
  const reconnect = (): void => {
    open?.close();
    open = null;
  };

  const renew = async (signal: AbortSignal): Promise<void> => {
    const { bundleSha256 } = trust();
    const key = newTlsKey();
    const csr = await buildCsr({ subject: commonName("upkeep device"), signer: tlsSigner(key) });
    const { certificates } = await client().call("renew", { csr: toBase64(csr) }, signal);
    const renewed = {
      key,
      certificates: certificates.map((der) => toPem("CERTIFICATE", fromBase64(der))).join(""),
    };
    await saveClient(world.disk, folder, renewed);
    own = renewed;
    reconnect();
    expires = new X509Certificate(renewed.certificates).validToDate.getTime();
    replacedFor = bundleSha256;
    world.log({ level: "info", event: "certificate-renewed", expires: new Date(expires).toISOString() });
  };

  /** A server that goes on issuing from an authority on its way out is asked once per bundle. */
  const isDue = (): boolean =>
    expires - world.clock.now() < RENEW_BEFORE ||
    (trust().isOutgoing(own.certificates) && replacedFor !== trust().bundleSha256);

  return {
    checkIn: async (request, signal) => {
      if (isDue()) {
        // The old one is good for a while yet: a failed renewal is told and tried again at the next check.
        await renew(signal).catch((error: unknown) => {
          if (!(error instanceof UpkeepError)) throw error;
          world.log({
            level: "warn",
            event: "certificate-not-renewed",
            code: error.code,
            message: sentenceOf(error),
          });
        });
      }
      if (plain) return client().call("checkIn", withoutNews(request), signal);
      try {
        return await client().call("checkIn", request, signal);
      } catch (error) {
        // A server from before these members refuses what it does not know; it is asked in its own words until this agent starts again.
        if (!(error instanceof UpkeepError) || error.facts["code"] !== "schema/invalid") throw error;
        const answer = await client().call("checkIn", withoutNews(request), signal);
        plain = true;
        world.log({
          level: "warn",
          event: "old-server",
          message: "The server takes no marks: clones of this device are not noticed.",
        });
        return answer;
      }
    },
    sendReports: async (envelopes, signal) => {
      const { results } = await client().call(
        "reports",
        { reports: envelopes.map((bytes) => toBase64(bytes)) },
        signal,
      );
      return results;
    },
    wakeUps: (after, signal) => client().wakes(after, signal),
    reconnect,
    close: reconnect,
  };
}
