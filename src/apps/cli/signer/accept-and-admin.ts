// What `signer accept` and `signer admin` do.

import { isJsonObject } from "../../../core/json.ts";
import { wholeHash } from "../../../signing/policy/admins.ts";
import { readAdmins } from "../../signer/admin-requests.ts";
import { loadSettings, signerFolder } from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { acceptNow, asking, askFor, askRunning, askSigner } from "./acceptance.ts";
import { done } from "./edit-config.ts";

export async function signerAccept(call: Call): Promise<Result> {
  const folder = signerFolder(call.context.data);
  // What would be refused as a configuration is not worth a code.
  const settings = await loadSettings(call.context.disk, folder);
  const by = await askFor(call, Object.keys((await readAdmins(call.context.disk, folder)).admins));
  const config = await acceptNow(call, folder, by, settings);
  const { users, keys, certificates } = settings.config;
  return done(
    `${by.admin} accepted the configuration ${config}: ${Object.keys(users).length} users, ${Object.keys(keys).length} keys, ${Object.keys(certificates).length} certificates.`,
    { admin: by.admin, config },
  );
}

export async function signerStatus(call: Call): Promise<Result> {
  const folder = signerFolder(call.context.data);
  const { config } = await loadSettings(call.context.disk, folder);
  const answer = await askRunning(call, folder, { ask: "status" });
  const state = isJsonObject(answer) ? answer : { state: "stopped" };
  const { name } = config.service;
  const where = state["store"] === undefined ? "" : `; its log is in ${String(state["store"])}`;
  const sentences: { readonly [state: string]: string } = {
    signing: `signer ${name} signs${where}`,
    starting: `signer ${name} starts${where}`,
    waiting: `signer ${name} waits${where}, written by ${String(state["holder"])} since ${String(state["since"])}`,
    "no-database": `signer ${name} waits for its database: ${String(state["what"])}`,
    stopped: `signer ${name} does not run here`,
  };
  const known = String(state["state"]);
  return {
    text: sentences[known] ?? known,
    json: { signer: name, ...state },
    exit: known === "signing" ? EXIT.ok : known === "stopped" ? EXIT.failed : EXIT.pending,
  };
}

export async function signerAdmin(call: Call): Promise<Result> {
  const folder = signerFolder(call.context.data);
  const [action, name] = [call.argument(0), call.argumentOr(1)];
  if (action === "list") {
    const { admins = [], config = "" } = await askSigner(call, folder, { ask: "list" });
    const lying = wholeHash(await loadSettings(call.context.disk, folder));
    const names = admins as readonly string[];
    const accepted = names.length === 0 || lying === config;
    return {
      text:
        names.length === 0
          ? "There is no administrator: who may write the configuration decides."
          : [...names, accepted ? "" : "The files on disk are not the accepted configuration."]
              .filter((line) => line !== "")
              .join("\n"),
      json: { admins, config, accepted },
    };
  }
  if (name === undefined) throw usage(`signer admin ${action} needs a name.`);
  if (action !== "add" && action !== "remove")
    throw usage(`There is no signer admin ${action}.`, "One of: add, list, remove.");
  const by = await asking(call, folder);
  const given = by === null ? {} : { by };
  if (action === "remove") {
    await askSigner(call, folder, { ask: "remove", name, ...given });
    return done(`The administrator ${name} is removed.`, { admin: name, action });
  }
  const { uri } = await askSigner(call, folder, { ask: "add", name, ...given });
  return {
    text: `${name} is an administrator with this one-time code secret, which is shown only now:\n${String(uri)}`,
    json: { admin: name, action, uri },
  };
}
