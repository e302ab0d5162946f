// Whom this server believes and what it issues from: the authorities in its folder, in the states that the repository's trust bundle gives them.

import { certificatePem, type Certificate } from "../../der/x509.ts";
import { spkiDigest, type Authority } from "../../identity/authority.ts";
import { openBundleKeeper, type BundleKeeper } from "../../identity/bundle-keeper.ts";
import { IdentityError } from "../../identity/errors.ts";
import { activeOf, believedOf, type AuthorityKind } from "../../identity/trust-bundle.ts";
import { authorityKeys, openAuthorities, type AuthorityTools } from "./authorities.ts";

/** The bundle that holds, in the folder of the authorities. */
export const BUNDLE_FILE = "bundle.json";

export type Trust = {
  /** SHA-256 of the keys of the first pair, which no list ever loses: by them a folder is known as one of this fleet. */
  readonly first: { readonly [kind in AuthorityKind]: string };
  /** The number of the bundle; 0 while there is none and the first pair of authorities is all there is. */
  readonly seq: number;
  readonly sha256: string | null;
  /** Issues the server's own certificate. */
  readonly server: Authority;
  /** Issues the certificates of devices. */
  readonly device: Authority;
  /** PEM: authorities whose device certificates are believed. */
  readonly believed: readonly string[];
  /** PEM: all of them, so that a certificate can be told by who issued it. */
  readonly known: readonly string[];
  /** Active by the bundle, but their keys are not in this folder: the one before goes on issuing. */
  readonly missing: readonly string[];
  /** By the SHA-256 of an authority's key. */
  isRevoked(authority: string): boolean;
  /** Takes over a bundle that TUF verified; false when it holds already. Errors: those of `BundleKeeper.take`, `key/*`. */
  take(bytes: Uint8Array): Promise<boolean>;
};

/** Makes the first pair of authorities where there is none. Errors: `key/*`, `disk/*`, `identity/bad-certificate`, `identity/bad-bundle`. */
export async function openTrust(folder: string, tools: AuthorityTools): Promise<Trust> {
  const first = await openAuthorities(folder, tools);
  const path = `${folder}/${BUNDLE_FILE}`;
  const keeper = await openBundleKeeper(tools.disk, path);
  // Going on without it would believe what was revoked.
  if (keeper.damage !== null) {
    throw new IdentityError(
      "identity/bad-bundle",
      `${path} is not as it was written: either somebody changed it, or the disk is failing.`,
      { path },
      {
        cause: keeper.damage,
        hint: "Remove it: it is read again from the repository, which has to be whole for that (upkeep repo doctor).",
      },
    );
  }
  let issuing: Issuing = await issuingNow(folder, keeper, { ...first, missing: [] }, tools);
  return {
    first: {
      server: spkiDigest(first.server.certificate.spki),
      device: spkiDigest(first.device.certificate.spki),
    },
    get seq() {
      return keeper.bundle?.seq ?? 0;
    },
    get sha256() {
      return keeper.sha256;
    },
    get server() {
      return issuing.server;
    },
    get device() {
      return issuing.device;
    },
    get missing() {
      return issuing.missing;
    },
    get believed() {
      const { bundle } = keeper;
      return (bundle === null ? [first.device] : believedOf(bundle, "device")).map(pem);
    },
    get known() {
      const { bundle } = keeper;
      return (
        bundle === null ? [first.device] : bundle.authorities.filter(({ kind }) => kind === "device")
      ).map(pem);
    },
    isRevoked: (authority) =>
      keeper.bundle?.authorities.some(
        ({ spkiSha256, state }) => spkiSha256 === authority && state === "revoked",
      ) ?? false,
    take: async (bytes) => {
      if (!(await keeper.take(bytes))) return false;
      issuing = await issuingNow(folder, keeper, issuing, tools);
      return true;
    },
  };
}

type Issuing = Pick<Trust, "server" | "device" | "missing">;

/** Keys are looked for anew: `upkeep ca prepare` puts them there while the server runs. */
async function issuingNow(
  folder: string,
  { bundle }: BundleKeeper,
  before: Issuing,
  tools: AuthorityTools,
): Promise<Issuing> {
  if (bundle === null) return before;
  const keys = new Map(
    (await authorityKeys(folder, tools)).map((one) => [spkiDigest(one.certificate.spki), one]),
  );
  const missing: string[] = [];
  const issuer = (kind: AuthorityKind): Authority => {
    const { spkiSha256 } = activeOf(bundle, kind);
    const found = keys.get(spkiSha256);
    if (found === undefined) missing.push(`${kind} ${spkiSha256}`);
    return found ?? before[kind];
  };
  return { server: issuer("server"), device: issuer("device"), missing };
}

function pem({ certificate }: { readonly certificate: Certificate }): string {
  return certificatePem(certificate);
}
