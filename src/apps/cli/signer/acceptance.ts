// How commands come to an administrator's yes: from the running signer, or with the unlock secret when it does not run.

import { fromUtf8 } from "../../../core/bytes.ts";
import { readOrNull } from "../../../core/disk.ts";
import { isJsonObject, type Json } from "../../../core/json.ts";
import type { UpkeepError } from "../../../core/errors.ts";
import { askAgent } from "../../../io/system/control-socket.ts";
import { holdFolder } from "../../../io/system/exclusive-lock.ts";
import { AdminLedger, wholeHash, type Asking } from "../../../signing/policy/admins.ts";
import { replayLog } from "../../../signing/audit/replay.ts";
import { purposeKey } from "../../../signing/custody/custody.ts";
import { SigningError, type SigningErrorCode } from "../../../signing/errors.ts";
import type { Settings } from "../../../signing/service.ts";
import { adminDesk, answerAdmin, readAdmins, type AdminRequest } from "../../signer/admin-requests.ts";
import { writeHome, type LogHome } from "../../signer/log-home.ts";
import { openOwnLog } from "../../signer/own-log.ts";
import { loadSettings, type SignerFolder } from "../../signer/settings.ts";
import type { Call } from "../../framework/command.ts";
import { unlocked } from "./init-run-describe.ts";

/** Errors: `signing/refused`, `signing/not-accepted`, `signing/exists`, `signing/not-found`; without a running signer also `signing/locked`, `signing/busy`. */
export async function askSigner(
  call: Call,
  folder: SignerFolder,
  request: AdminRequest,
): Promise<{ readonly [name: string]: Json }> {
  const answer =
    (await askRunning(call, folder, request as unknown as Json)) ?? (await answerHere(call, folder, request));
  return isJsonObject(answer) ? answer : {};
}

/** What the running signer answers; null when none runs. Errors: those that it says. */
export async function askRunning(call: Call, folder: SignerFolder, request: Json): Promise<Json | null> {
  const { context } = call;
  try {
    const where = await readOrNull(context.disk, folder.control, 4096);
    // Without that line no signer runs, and in the data folder is no socket.
    const sockets = where === null ? folder.root : fromUtf8(where).trimEnd();
    return await askAgent(sockets, request, context.signal);
  } catch (error) {
    const { code, message, facts, hint } = error as UpkeepError;
    if (code === "control/refused")
      throw new SigningError(
        String(facts["code"]) as SigningErrorCode,
        message,
        {},
        hint === undefined ? {} : { hint },
      );
    if (code !== "control/no-agent") throw error;
    return null;
  }
}

/** The signer does not run: whoever has the unlock secret writes its log instead, under its lock. */
async function answerHere(call: Call, folder: SignerFolder, request: AdminRequest): Promise<Json> {
  const { disk, clock, random } = call.context;
  const settings = await loadSettings(disk, folder);
  const { name } = settings.config.service;
  const secret = await unlocked(call, folder);
  const key = purposeKey(secret, "admins v1");
  const letGo = await holdFolder(`${folder.root}/lock`, clock);
  let home: LogHome | undefined;
  try {
    home = await writeHome(disk, folder, settings, { clock });
    const { files, folder: at } = home;
    const log = await openOwnLog(disk, clock, folder, home, name, secret);
    secret.fill(0);
    try {
      const ledger = new AdminLedger(key);
      await replayLog(files, at, log.size, (entry) => ledger.apply(entry));
      const record = async (body: Parameters<typeof log.seal>[0]) => (await log.seal(body)).entry;
      const desk = adminDesk({ disk, clock, random, folder, ledger, key, signer: name, record });
      return await answerAdmin(
        desk,
        ledger,
        { disk, folder, inForce: () => wholeHash(settings) },
        request as unknown as Json,
      );
    } finally {
      await log.close();
    }
  } finally {
    await home?.close();
    letGo();
  }
}

/** Who changes the configuration, with the code, asked for before anything is written; null as long as there is no administrator. */
export async function asking(call: Call, folder: SignerFolder): Promise<Asking | null> {
  const { admins } = await readAdmins(call.context.disk, folder);
  const names = Object.keys(admins);
  return names.length === 0 ? null : askFor(call, names);
}

export async function askFor(call: Call, names: readonly string[]): Promise<Asking> {
  const admin = call.text("admin") ?? call.context.terminal.env["UPKEEP_ADMIN"];
  if (admin === undefined) {
    throw new SigningError(
      "signing/not-accepted",
      "This signer takes only what an administrator has accepted; nothing was changed.",
      { admins: [...names] },
      { hint: `Add --admin NAME (${names.join(", ")}) and have the device with the codes at hand.` },
    );
  }
  const code = await call.context.secret({
    what: `One-time code of ${admin}`,
    env: "UPKEEP_CODE",
    option: "UPKEEP_CODE",
  });
  return { admin, code: code.replaceAll(" ", "") };
}

/** Has `settings` accepted, which must be what lies there. `base` is what they were made of by a command. */
export async function acceptNow(
  call: Call,
  folder: SignerFolder,
  by: Asking,
  settings: Settings,
  base?: Settings,
): Promise<string> {
  const config = wholeHash(settings);
  const from = base === undefined ? {} : { base: wholeHash(base) };
  await askSigner(call, folder, { ask: "accept", config, ...from, by });
  return config;
}
