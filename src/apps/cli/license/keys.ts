// What `license keys` does: issuer keys and a lease key become part of the repository's trust.

import type { PublicKey } from "../../../keys/public-key.ts";
import type { Grant } from "../../../release/trusted-keys.ts";
import { checkName } from "../fleet/naming.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { conclude, refuseWhileOpen } from "../repo/ceremony.ts";
import { findOrMake, noReserve, readPublicKey } from "../repo/init.ts";
import { operatorOf } from "../repo/operator.ts";
import { changeTrust } from "../repo/trust-change.ts";

/** What the keys are called when nobody names them. */
export const ISSUER_KEY = "licenses";
export const LEASE_KEY = "leases";

export async function licenseKeys(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const products = call.list("product").map(checkName);
  const wrap = call.flag("passphrase") || call.text("passphrase-file") !== undefined;
  const passphrase = wrap
    ? await call.context.secret({
        what: "New passphrase for the issuer's key",
        env: "UPKEEP_PASSPHRASE",
        file: call.text("passphrase-file"),
        option: "--passphrase-file",
        twice: true,
      })
    : null;
  const made = async (file: string | undefined, name: string, secret: string | null): Promise<PublicKey> =>
    file === undefined
      ? (await findOrMake(operator, call, name, secret, "ed25519")).publicKey
      : (await readPublicKey(call, file)).key;
  const files = call.list("issuer");
  const issuers: PublicKey[] = [];
  for (const file of files.length === 0 ? [undefined] : files)
    issuers.push(await made(file, ISSUER_KEY, passphrase));
  const lease = await made(call.text("lease"), LEASE_KEY, null);
  const threshold = call.whole("threshold", 1, 16) ?? Math.floor(issuers.length / 2) + 1;
  if (new Set(issuers.map(({ keyid }) => keyid)).size < threshold)
    throw usage(
      `--threshold ${threshold} asks for more issuer keys than the ${issuers.length} that are given.`,
    );
  if (issuers.some(({ keyid }) => keyid === lease.keyid))
    throw usage("The lease key is online and the issuer's keys are not: one key cannot be both.");
  if (issuers.length > 1 && threshold === issuers.length) call.context.note(noReserve("licenses", threshold));
  const scope: Grant["products"] = products.length === 0 ? "*" : products;
  const grants: readonly Grant[] = [
    { kind: "license", products: scope, keyids: issuers.map(({ keyid }) => keyid), threshold },
    { kind: "lease", products: scope, keyids: [lease.keyid], threshold: 1 },
  ];
  const outcome = await changeTrust(operator, async (trusted, draft) => {
    const others = trusted.grants.filter(
      ({ kind, products: had }) =>
        (kind !== "license" && kind !== "lease") || JSON.stringify(had) !== JSON.stringify(scope),
    );
    if (others.length < trusted.grants.length)
      throw usage(
        "The repository trusts keys for licenses already.",
        "Exchange one with upkeep repo rotate licenses (or leases), take one away with upkeep repo revoke.",
      );
    draft.trace("key/added", "documents license, lease", {
      before: null,
      after: grants.map(({ kind, keyids }) => ({ kind, keyids })),
      threshold,
    });
    return {
      keys: new Map([...trusted.keys, ...[...issuers, lease].map((key) => [key.keyid, key] as const)]),
      grants: [...trusted.grants, ...grants],
    };
  });
  const concluded = await conclude(call, outcome, "add keys for licenses");
  const lines = [
    `licenses: ${threshold} of ${issuers.length} issuer key(s) must sign; leases: one online key`,
    concluded.text,
    ...(files.length > 0
      ? []
      : [
          `Move ${ISSUER_KEY}.key.json from ${call.context.data}/keys to media that you lock away; the server needs ${LEASE_KEY} only.`,
        ]),
  ];
  return {
    text: lines.join("\n"),
    json: { grants, ...concluded.json },
    exit: concluded.exit,
  };
}
