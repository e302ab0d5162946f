// Whom this device takes for its server: by the trust bundle that it keeps, and before the first one by the pin of its token.

import { X509Certificate } from "node:crypto";
import type { ServerTrust } from "../../agent/ports.ts";
import type { Disk } from "../../core/disk.ts";
import { certificatePem, parseCertificate } from "../../der/x509.ts";
import { AUTHORITY_STATES } from "../../identity/authority-states.ts";
import { openBundleKeeper } from "../../identity/bundle-keeper.ts";
import { believedOf, issuerIn } from "../../identity/trust-bundle.ts";
import type { StoredIdentity } from "../../io/device/device-identity.ts";
import type { ServerIdentity } from "../../io/device/tls.ts";

export type DeviceTrust = ServerTrust & {
  /** As of now. Without any authority while the kept bundle is damaged: nobody is believed then. */
  readonly server: ServerIdentity;
  /** True when the authority that issued this certificate (PEM, leaf first) is on its way out: it has to be renewed now. */
  isOutgoing(certificates: string): boolean;
};

/** `changed` is called after another bundle holds. Errors: `disk/*`. */
export async function openDeviceTrust(
  disk: Disk,
  folder: string,
  pinned: StoredIdentity["server"],
  changed: () => void,
): Promise<DeviceTrust> {
  const keeper = await openBundleKeeper(disk, `${folder}/bundle.json`);
  return {
    get bundleSha256() {
      return keeper.sha256;
    },
    get server() {
      const { host, port } = pinned;
      // What the pin says may have been revoked by the bundle that cannot be read.
      if (keeper.damage !== null) return { host, port, authorities: [], pins: [] };
      if (keeper.bundle === null) return pinned;
      const believed = believedOf(keeper.bundle, "server");
      return {
        host,
        port,
        authorities: believed.map(({ certificate }) => certificatePem(certificate)),
        pins: believed.map(({ spkiSha256 }) => spkiSha256),
      };
    },
    isOutgoing: (certificates) => {
      if (keeper.bundle === null) return false;
      const leaf = parseCertificate(new Uint8Array(new X509Certificate(certificates).raw));
      const issuer = issuerIn(keeper.bundle, "device", leaf);
      return issuer !== null && AUTHORITY_STATES[issuer.state].replaced;
    },
    take: async (bundle) => {
      if (await keeper.take(bundle)) changed();
    },
  };
}
