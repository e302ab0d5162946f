// The device's conversation with its server, and the renewal of the certificate by which it is known there.

import { isAway } from "../../agent/follow-alone.ts";
import { sentenceOf } from "../../agent/errors.ts";
import type { UpdateServer, World } from "../../agent/ports.ts";
import { fromBase64, toBase64 } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import { fraction } from "../../core/random.ts";
import type { Instant } from "../../core/instant.ts";
import { buildCsr } from "../../der/csr.ts";
import { commonName } from "../../der/names.ts";
import { toPem } from "../../der/pem.ts";
import { newTlsKey, saveClient, tlsSigner, type StoredIdentity } from "../../io/device/device-identity.ts";
import { placeName, type Place } from "../../io/connection/failure.ts";
import type { Proxies } from "../../io/connection/proxies.ts";
import { openServerClient, type ServerClient } from "../../io/device/server-client.ts";
import { X509Certificate } from "node:crypto";
import type { DeviceTrust } from "./trust.ts";

/** Of a certificate's life. Which device renews when is spread over a tenth, so that what was enrolled together is not renewed together. */
const RENEW_AT = 0.5;
const RENEW_SPREAD = 0.1;

export type Connection = UpdateServer & {
  /** Ends what is open: the next call connects by the trust of then. */
  reconnect(): void;
  close(): void;
};

/** When half of a certificate's life is over, less up to a tenth of it by `draw` (0 to 1). */
export function renewalOf(
  life: { readonly notBefore: Instant; readonly notAfter: Instant },
  draw: number,
): Instant {
  return life.notBefore + (life.notAfter - life.notBefore) * (RENEW_AT + RENEW_SPREAD * (draw - 0.5));
}

function lifeOf(certificates: string): { readonly notBefore: Instant; readonly notAfter: Instant } {
  const { validFromDate, validToDate } = new X509Certificate(certificates);
  return { notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() };
}

/** `folder` is the identity folder; a renewed certificate is written there before it is used. */
export function openConnection(
  folder: string,
  identity: StoredIdentity,
  trust: () => DeviceTrust,
  world: World,
  places: readonly Place[],
  proxies: Proxies,
): Connection {
  let { client: own } = identity;
  const draw = fraction(world.random);
  /** Which of the places is asked. */
  let at = 0;
  let open: ServerClient | null = null;
  /** The bundle for which this device has a certificate of the authority that issued then. */
  let replacedFor: string | null = null;
  const client = (): ServerClient =>
    (open ??= openServerClient({ ...trust().server, ...places[at]! }, own, proxies));
  const reconnect = (): void => {
    open?.close();
    open = null;
  };

  /** The next address, when there is another. What it is asked is idempotent: an answer that was lost is given once more. */
  const moveOn = (error: unknown): boolean => {
    if (places.length === 1 || !mayHelpElsewhere(error)) return false;
    at = (at + 1) % places.length;
    reconnect();
    return true;
  };
  /** Asks one address after the other, once each; what the first one failed by is told when none answers. */
  const inTurn = async <T>(ask: (server: ServerClient) => Promise<T>): Promise<T> => {
    const begun = at;
    let first: unknown;
    for (;;) {
      try {
        const answer = await ask(client());
        if (at !== begun)
          world.log({ level: "info", event: "server-changed", server: placeName(places[at]!) });
        return answer;
      } catch (error) {
        first ??= error;
        if (!moveOn(error) || at === begun) throw first;
      }
    }
  };

  const renew = async (signal: AbortSignal): Promise<void> => {
    const { bundleSha256 } = trust();
    const key = newTlsKey();
    const csr = await buildCsr({ subject: commonName("upkeep device"), signer: tlsSigner(key) });
    const { certificates } = await inTurn((server) => server.call("renew", { csr: toBase64(csr) }, signal));
    const renewed = {
      key,
      certificates: certificates.map((der) => toPem("CERTIFICATE", fromBase64(der))).join(""),
    };
    await saveClient(world.disk, folder, renewed);
    own = renewed;
    reconnect();
    const { notAfter } = lifeOf(renewed.certificates);
    replacedFor = bundleSha256;
    world.log({ level: "info", event: "certificate-renewed", expires: new Date(notAfter).toISOString() });
  };

  /** A server that goes on issuing from an authority on its way out is asked once per bundle. */
  const isDue = (): boolean =>
    world.clock.now() >= renewalOf(lifeOf(own.certificates), draw) ||
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
      return inTurn((server) => server.call("checkIn", request, signal));
    },
    sendReports: async (envelopes, signal) => {
      const reports = envelopes.map((bytes) => toBase64(bytes));
      const { results } = await inTurn((server) => server.call("reports", { reports }, signal));
      return results;
    },
    wakeUps: async function* (after, signal) {
      try {
        yield* client().wakes(after, signal);
      } catch (error) {
        moveOn(error);
        throw error;
      }
    },
    reconnect,
    close: reconnect,
  };
}

/** Another address may serve when this one is away, or when somebody stands before it. */
function mayHelpElsewhere(error: unknown): boolean {
  return isAway(error) || (error instanceof UpkeepError && error.code === "server/untrusted");
}
