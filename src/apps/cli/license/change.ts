// What changes licenses without signing them again: options, revocation, seats, plans, the payment hook, and activation by file.

import { resolve } from "node:path";
import { toHex, toUtf8 } from "../../../core/bytes.ts";
import { makeDirectories, readOrNull, writeAtomic } from "../../../core/disk.ts";
import { formatInstant, SECOND } from "../../../core/instant.ts";
import { activate } from "../../../fleet/licenses/activate.ts";
import { needLicense, revokeLicense, switchOptions, transferSeat } from "../../../fleet/licenses/books.ts";
import { takeReceipt } from "../../../fleet/licenses/usage.ts";
import { findDevice } from "../../../fleet/devices.ts";
import { appendAudit } from "../../../fleet/audit.ts";
import type { StoreRecords } from "../../../fleet/store.ts";
import { parseTufKey, type PublicKey } from "../../../keys/public-key.ts";
import { openActivation, openReceipt, unverifiedDevice } from "../../../license/device-documents.ts";
import { LicenseError } from "../../../license/errors.ts";
import {
  NO_REVOCATIONS,
  openRevocations,
  REVOCATIONS_LIMIT,
  REVOCATIONS_TARGET,
  signRevocations,
} from "../../../license/revocations.ts";
import { LICENSE_LIMIT } from "../../../license/terms.ts";
import { documentSigners } from "../../../repository/publish/document-signing.ts";
import { targetFileOf } from "../../../repository/publish/new-repository.ts";
import { readTargetOf } from "../../../repository/publish/publisher.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { checkName, needConsent } from "../fleet/naming.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { conclude, refuseWhileOpen } from "../repo/ceremony.ts";
import { operatorOf } from "../repo/operator.ts";
import { issuersOf, writeNew } from "./issue.ts";
import { leaseSigner } from "../repo/lease-signer.ts";
import { instantOf, parseTerms } from "./terms-file.ts";

export async function licenseOptions(call: Call): Promise<Result> {
  const id = call.argument(0);
  const change = { enable: call.list("enable"), disable: call.list("disable") };
  if (change.enable.length + change.disable.length === 0)
    throw usage("Which option? Give --enable or --disable.");
  const row = await withFleet(call, (records, now) =>
    switchOptions(records, { actor: actor(), now }, id, change),
  );
  return {
    text: `${id}: ${row.options.join(", ") || "no option"} switched on. Its devices are asked to check in now.`,
    json: { license: id, options: row.options },
  };
}

export async function licenseRevoke(call: Call): Promise<Result> {
  const id = call.argument(0);
  const reason = call.needed("reason");
  const { license } = await readFleet(call, (records) => needLicense(records, id));
  const publish = call.flag("publish");
  if (publish) await refuseWhileOpen(call);
  await needConsent(call, `The license ${id} of ${license.customer} will be taken back.`);
  const at = instantOf(call, "at") ?? Math.floor(call.context.clock.now() / SECOND) * SECOND;
  await withFleet(call, (records, now) =>
    revokeLicense(records, { actor: actor(), now }, id, { at, reason }),
  );
  const said = `${id} is revoked from ${formatInstant(at)} on. Devices fall back at their next check-in and go on getting security releases.`;
  if (!publish) return { text: said, json: { license: id, revoked: formatInstant(at), published: false } };
  const operator = operatorOf(call);
  const issuers = await issuersOf(call, license.product);
  const signers = await documentSigners(issuers, operator.ring, "the list of revoked licenses");
  const outcome = await operator.publisher.change(async (draft) => {
    const listed = (await draft.role("targets")).body.targets;
    const before = [...listed.keys()].some((name) => String(name) === REVOCATIONS_TARGET)
      ? openRevocations(
          await readTargetOf(
            call.context.disk,
            operator.folder,
            draft,
            REVOCATIONS_TARGET,
            REVOCATIONS_LIMIT,
          ),
          issuers,
        )
      : null;
    const others = (before?.revoked ?? []).filter((one) => one.license !== id);
    const next = {
      version: (before?.version ?? NO_REVOCATIONS.version - 1) + 1,
      revoked: [...others, { license: id, effectiveAt: formatInstant(at), reason }],
    };
    const bytes = await signRevocations(next, signers);
    const file = targetFileOf(bytes);
    await operator.publisher.placeBytes(REVOCATIONS_TARGET, file, bytes);
    await draft.changeTargets("targets", { put: new Map([[REVOCATIONS_TARGET, file]]) });
    draft.trace("license/revoked", id, { before: null, after: formatInstant(at), reason });
  });
  const concluded = await conclude(call, outcome, `publish that ${id} is revoked`);
  return {
    text: `${said}\n${concluded.text}`,
    json: { license: id, revoked: formatInstant(at), published: true, ...concluded.json },
    exit: concluded.exit,
  };
}

export async function licenseTransfer(call: Call): Promise<Result> {
  const id = call.argument(0);
  const device = await readFleet(call, (records) => findDevice(records, call.needed("from")));
  const override = call.text("override") ?? null;
  await withFleet(call, (records, now) =>
    transferSeat(records, { actor: actor(), now }, id, device.id, override),
  );
  return {
    text: `The seat of ${device.name} is free. What that device holds already lasts until its lease and grace end.`,
    json: { license: id, device: device.id, released: true },
  };
}

/** A request that came by file: the answer is a file for the device, and the seat stays taken until that ends. */
export async function licenseActivate(call: Call): Promise<Result> {
  const file = call.argument(0);
  const days = call.whole("days", 1, 3660) ?? 30;
  const out = call.needed("out");
  const bytes = await call.context.disk.read(resolve(file), LICENSE_LIMIT);
  const signer = await leaseSigner(call);
  if (signer === null)
    throw new LicenseError(
      "license/no-lease-key",
      "The lease key is not in this data folder.",
      {},
      { hint: "Run this where the server is." },
    );
  const { random } = call.context;
  const done = await withFleet(call, async (records, at) => {
    const now = Math.floor(at / SECOND) * SECOND;
    const request = openActivation(bytes, await enrolledKey(records, bytes));
    return activate(records, now, { signer, random }, { request, days, actor: actor(), address: "file" });
  });
  const answer = { format: "upkeep lease file 1", license: done.license, lease: done.lease };
  await writeNew(call, out, toUtf8(`${JSON.stringify(answer)}\n`));
  return {
    text: `${out} is for that device alone: upkeep agent license import ${out}. Its seat stays taken for ${days} day(s).`,
    json: { file: resolve(out), days, again: done.again },
  };
}

export async function licenseReceipt(call: Call): Promise<Result> {
  const bytes = await call.context.disk.read(resolve(call.argument(0)), LICENSE_LIMIT);
  const { freed, license } = await withFleet(call, async (records, now) => {
    const receipt = openReceipt(bytes, await enrolledKey(records, bytes));
    const freed = await takeReceipt(records, now, receipt, {
      override: call.flag("override"),
      actor: actor(),
    });
    return { freed, license: receipt.license };
  });
  return {
    text: freed ? `A seat of ${license} is free.` : `This receipt of ${license} was taken before.`,
    json: { license, freed },
  };
}

/** The key that the device was enrolled with: what came by file has to be signed by it. */
async function enrolledKey(
  records: StoreRecords,
  bytes: Uint8Array,
): Promise<{ readonly key: PublicKey; readonly device: string }> {
  const device = await records.device(unverifiedDevice(bytes) ?? "");
  if (device === null || device.status !== "active")
    throw new LicenseError("license/key-mismatch", "The file comes from no device of this fleet.", {});
  const key = parseTufKey({ keytype: "ed25519", scheme: "ed25519", keyval: { public: device.reportKey } });
  return { key, device: device.id };
}

export async function licenseWebhook(call: Call): Promise<Result> {
  const { context } = call;
  const path = `${context.data}/server/webhook.secret`;
  const before = await readOrNull(context.disk, path, 1024);
  if (before !== null && !call.flag("new"))
    throw usage(
      `There is a secret in ${path} already.`,
      "Give --new to exchange it; the one before ends at once.",
    );
  const secret = toHex(context.random.bytes(32));
  await makeDirectories(context.disk, `${context.data}/server`, 0o700);
  await writeAtomic(context.disk, path, toUtf8(`${secret}\n`), 0o600);
  await withFleet(call, (records, now) =>
    appendAudit(records, now, {
      actor: actor(),
      action: "license/webhook-secret",
      subject: "server",
      facts: {},
    }),
  );
  context.note(
    "POST /v1/license/webhook, signed in the header upkeep-signature; docs/guides/licenses.md shows how.",
  );
  return { text: secret, json: { secret, path: "/v1/license/webhook" } };
}

export async function planSet(call: Call): Promise<Result> {
  const name = checkName(call.argument(0));
  const bytes = await call.context.disk.read(resolve(call.argument(1)), LICENSE_LIMIT);
  const terms = parseTerms(bytes, call.argument(1));
  await withFleet(call, async (records, now) => {
    await records.putPlan({ name, terms: Buffer.from(bytes).toString("utf8"), changed: now });
    await appendAudit(records, now, {
      actor: actor(),
      action: "license/plan-set",
      subject: name,
      facts: { product: terms.product },
    });
  });
  return {
    text: `The plan ${name} is set. Licenses that were made by it stay as they are.`,
    json: { plan: name, product: terms.product },
  };
}

export async function planList(call: Call): Promise<Result> {
  const plans = await readFleet(call, (records) => records.plans());
  return {
    text:
      plans.length === 0
        ? "There are no plans."
        : plans.map(({ name, terms }) => `# ${name}\n${terms.trim()}`).join("\n\n"),
    json: {
      plans: plans.map(({ name, changed, terms }) => ({ name, changed: formatInstant(changed), terms })),
    },
  };
}

export async function planRemove(call: Call): Promise<Result> {
  const name = call.argument(0);
  const removed = await withFleet(call, async (records, now) => {
    const gone = await records.dropPlan(name);
    if (gone)
      await appendAudit(records, now, {
        actor: actor(),
        action: "license/plan-removed",
        subject: name,
        facts: {},
      });
    return gone;
  });
  if (!removed) throw usage(`There is no plan ${name.slice(0, 64)}.`);
  return {
    text: `The plan ${name} is removed. Licenses that were made by it stay.`,
    json: { plan: name, removed },
  };
}
