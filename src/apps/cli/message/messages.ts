// What the verbs of `message` do.

import { resolve } from "node:path";
import { fromHex, toHex } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import { makeDirectories, statOrNull, writeAtomic } from "../../../core/disk.ts";
import { formatInstant, HOUR } from "../../../core/instant.ts";
import { appendAudit } from "../../../fleet/audit.ts";
import { findDevice } from "../../../fleet/devices.ts";
import { FleetError } from "../../../fleet/errors.ts";
import { nextCounter } from "../../../fleet/messages.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import { HPKE_KEY_LENGTH } from "../../../keys/hpke.ts";
import { messageKeyId } from "../../../message/message-key.ts";
import { MessageError } from "../../../message/errors.ts";
import { lifeFrom, MESSAGE_KINDS, MESSAGE_TIMES, type MessageAsk } from "../../../message/sealed/body.ts";
import { readHeader, sealMessage } from "../../../message/sealed/form.ts";
import { SEALED_LENGTH } from "../../../message/sealed-length.ts";
import { messengersIn } from "../../../release/trusted-keys.ts";
import { withMessenger } from "../../../repository/publish/new-repository.ts";
import { firstRootDigest } from "../../server/repository-watch.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns } from "../../framework/style.ts";
import { reasonOf } from "../fleet/ask.ts";
import { keysOf } from "../key/keys.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { conclude, refuseWhileOpen } from "../repo/ceremony.ts";
import { findOrMake } from "../repo/init.ts";
import { operatorOf } from "../repo/operator.ts";
import { changeTrust } from "../repo/trust-change.ts";

export async function messageInit(call: Call): Promise<Result> {
  await refuseWhileOpen(call);
  const operator = operatorOf(call);
  const { publicKey: key } = await findOrMake(operator, call, "messenger", null, "ed25519");
  const outcome = await changeTrust(operator, async (trusted, draft) => {
    if (messengersIn(trusted).some(({ keyid }) => keyid === key.keyid)) return trusted;
    draft.trace("key/added", "documents message", { before: null, after: key.keyid, name: "messenger" });
    return withMessenger(trusted, key);
  });
  const concluded = await conclude(call, outcome, "name the messenger key");
  return {
    text: `messenger ${key.keyid.slice(0, 16)}\n${concluded.text}\nRestart the server: from then on it seals what it says to devices.`,
    json: { messenger: key.keyid, ...concluded.json },
    exit: concluded.exit,
  };
}

export async function messageSeal(call: Call): Promise<Result> {
  const { context } = call;
  const out = resolve(call.needed("out"));
  if ((await statOrNull(context.disk, out)) !== null) throw usage(`${out} is there already.`);
  const ask = askFrom(call);
  const reason = reasonOf(call);
  const hours = call.whole("hours", 1, 24) ?? 24;
  const fleet = await firstRootDigest(context.disk, `${context.data}/repository`);
  if (fleet === null) throw usage("There is no repository in this data folder, so no fleet to seal for.");
  const messenger = await keysOf(call).signer(call.needed("messenger"));
  const { device, key, counter, now } = await withFleet(call, async (records, now) => {
    const device = await findDevice(records, call.argument(0));
    const key = await keyOf(records, device);
    const counter = await nextCounter(records, now);
    await appendAudit(records, now, {
      actor: actor(),
      action: "message/sealed",
      subject: `device:${device.id}`,
      facts: { kind: ask.kind, counter, ...(reason === null ? {} : { reason }) },
    });
    return { device, key, counter, now };
  });
  const life = lifeFrom(now, hours * HOUR);
  const id = toHex(context.random.bytes(16));
  const bytes = await sealMessage(
    { to: device.id, id, counter, ...life, ...ask },
    { key, fleet },
    messenger,
    context.random.bytes(HPKE_KEY_LENGTH),
  );
  await writeAtomic(context.disk, out, bytes, 0o644);
  return {
    text: `${out}: ${ask.kind} for ${device.name} (${device.id}), good until ${life.expires}.\nThere: upkeep agent message deliver ${call.needed("out")}`,
    json: { file: out, device: device.id, kind: ask.kind, counter, expires: life.expires },
  };
}

function askFrom(call: Call): MessageAsk {
  const kind = MESSAGE_KINDS.find((one) => one === call.needed("kind"))!;
  const when = MESSAGE_TIMES.find((one) => one === call.needed("when"))!;
  if (kind === "update-check") return { kind, when };
  if (when !== "now") throw usage("--when goes with --kind update-check.");
  return { kind };
}

/** Error: `fleet/no-message-key`. */
async function keyOf(records: FleetReads, device: { readonly id: string; readonly name: string }) {
  const found = await records.messageKey(device.id);
  if (found !== null) return fromHex(found.key);
  throw new FleetError(
    "fleet/no-message-key",
    `${device.name} has given this server no key for messages: it has not checked in yet, or its agent is from before them.`,
    { device: device.id },
    { hint: "Its next check-in brings the key." },
  );
}

export async function messageShow(call: Call): Promise<Result> {
  const file = resolve(call.argument(0));
  const header = readHeader(await call.context.disk.read(file, SEALED_LENGTH));
  if (header === null) throw notSealed(file);
  const found = await readFleet(call, async (records) => {
    for (let after: string | undefined; ;) {
      const page = await records.devices({ limit: 1000, ...(after === undefined ? {} : { after }) });
      for (const device of page) {
        const key = await records.messageKey(device.id);
        if (key !== null && messageKeyId(fromHex(key.key)) === header.key)
          return { device, taken: key.taken };
      }
      if (page.length < 1000) return null;
      after = page.at(-1)!.id;
    }
  });
  const whose =
    found === null
      ? "no device of this fleet, or one that has replaced its key since"
      : `${found.device.name} (${found.device.id})`;
  const rows = [
    ["form", `SM ${header.version}, suite ${header.suite}, ${SEALED_LENGTH} bytes`],
    ["key", header.key],
    ["for", whose],
    ["says", "only that device can read it"],
  ];
  return {
    text: columns(rows, call.context.width),
    json: {
      ...header,
      device: found?.device.id ?? null,
      keyTaken: found === null ? null : formatInstant(found.taken),
    },
  };
}

export async function messageDeliver(call: Call): Promise<Result> {
  const { disk } = call.context;
  const [file, folder] = [resolve(call.argument(0)), resolve(call.argument(1))];
  const bytes = await disk.read(file, SEALED_LENGTH);
  if (readHeader(bytes) === null) throw notSealed(file);
  await makeDirectories(disk, folder, 0o700);
  const place = `${folder}/${sha256Hex(bytes).slice(0, 32)}.sealed`;
  await writeAtomic(disk, place, bytes, 0o600);
  return { text: `${place}: judged when the agent looks there.`, json: { file: place } };
}

function notSealed(file: string): MessageError {
  return new MessageError("message/refused", `${file} is no sealed message of a form that is known here.`, {
    file,
    why: "wrong-form",
  });
}
