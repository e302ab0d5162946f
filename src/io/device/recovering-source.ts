// The server's static plane for a device that may have slept through a change of authorities: signed metadata is reachable without TLS trust.

import { MirrorError } from "../../mirror/errors.ts";
import type { OpenOptions, Opened, Source } from "../../mirror/source.ts";
import { DIRECT, type Proxies } from "../connection/proxies.ts";
import { httpSource } from "../source/http.ts";
import type { ClientIdentity, ServerIdentity } from "./tls.ts";

/**
 * All that is asked for over a connection whose server is not believed: TUF metadata, and the trust bundle, which TUF lists by its digest.
 * Their signatures and numbers are all that is believed of them, whoever hands them over; mirrors are not believed either.
 */
const SIGNED =
  /^repository\/(?:metadata\/[A-Za-z0-9._%-]+|targets\/trust\/(?:[0-9a-f]{64}(?:[0-9a-f]{64})?\.)?bundle\.json)$/;

/** Errors of node:tls and OpenSSL that mean: the chain leads to no authority that is believed. */
const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
]);

export type ClimbingSource = Source & {
  /** From now on the authorities of now are believed; open connections end. */
  renew(): void;
  close(): void;
};

/**
 * `server`: the authorities that are believed now, and their pins. `client`: the certificate that releases for licensed devices are asked for with. `told` hears when signed files begin to come from a server that is not believed, and when
 * that ends. Errors of `open`: those of `httpSource`.
 */
export function climbingSource(
  address: string,
  server: () => Pick<ServerIdentity, "authorities" | "pins">,
  told: (climbing: boolean) => void,
  proxies: Proxies = DIRECT,
  client: () => ClientIdentity | null = () => null,
): ClimbingSource {
  const open = () => {
    const { authorities: ca, pins } = server();
    const own = client();
    const shown = own === null ? {} : { key: own.key, cert: own.certificates };
    // An empty list is no list to httpSource's TLS; here it means nobody.
    return ca.length === 0 ? null : httpSource(address, { tls: { ca, pins, ...shown }, proxies });
  };
  // No client certificate is ever given to this one, and nothing but GET is said.
  const bare = httpSource(address, { tls: { anyServer: "for signed files only" }, proxies });
  let trusted = open();
  let climbing = false;
  const tell = (now: boolean): void => {
    if (now !== climbing) told(now);
    climbing = now;
  };
  return {
    name: bare.name,
    open: async (path: string, wanted: OpenOptions): Promise<Opened> => {
      try {
        if (trusted === null) throw noAuthority(bare.name, path);
        const opened = await trusted.open(path, wanted);
        tell(false);
        return opened;
      } catch (error) {
        if (!SIGNED.test(path) || !isUnknownAuthority(error)) throw error;
        tell(true);
        return bare.open(path, wanted);
      }
    },
    renew: () => {
      trusted?.close();
      trusted = open();
    },
    close: () => {
      trusted?.close();
      bare.close();
    },
  };
}

function isUnknownAuthority(error: unknown): boolean {
  if (!(error instanceof MirrorError) || error.code !== "mirror/untrusted") return false;
  return UNKNOWN_AUTHORITY.has(String(error.facts["reason"]));
}

/** The kept list of authorities is damaged, so nobody is believed until it was read again. */
function noAuthority(name: string, path: string): MirrorError {
  return new MirrorError(
    "mirror/untrusted",
    `${path} could not be read from ${name}: no authority of the server is known here.`,
    { source: name, path, reason: "UNABLE_TO_GET_ISSUER_CERT" },
  );
}
