// What `signer backup` and `signer restore` do.

import { resolve } from "node:path";
import { unlockSecret } from "../../../signing/custody/custody.ts";
import { backupSigner, backupSize } from "../../signer/backup.ts";
import { restoreSigner } from "../../signer/restore.ts";
import { readHome } from "../../signer/log-home.ts";
import type { Target } from "../../signer/move-log.ts";
import { loadSettings, signerFolder } from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { unlocking } from "./init-run-describe.ts";

export async function signerBackup(call: Call): Promise<Result> {
  const { context } = call;
  const folder = signerFolder(context.data);
  const to = resolve(call.argument(0));
  const home = await readHome(context.disk, folder, await loadSettings(context.disk, folder));
  context.atEnd(home.close);
  const log = { disk: home.files, folder: home.folder };
  const bar = context.progress("copying", await backupSize(log));
  try {
    const facts = await backupSigner({
      disk: context.disk,
      clock: context.clock,
      folder,
      log,
      to,
      onBytes: (bytes) => bar.advance(bytes),
    });
    return {
      text: `${to}: ${facts.files} files of ${facts.signer}, ${facts.entries} entries of its log${facts.entries === 0 ? "" : `, root ${facts.root}`}`,
      json: { file: to, ...facts },
    };
  } finally {
    bar.done();
  }
}

export async function signerRestore(call: Call): Promise<Result> {
  const { context } = call;
  const from = resolve(call.argument(0));
  const folder = signerFolder(context.data);
  const bar = context.progress("reading", (await context.disk.stat(from)).size);
  try {
    const facts = await restoreSigner({
      disk: context.disk,
      clock: context.clock,
      from,
      folder,
      unlock: async (unlock) => {
        bar.done();
        return unlockSecret(unlock, await unlocking(call, unlock));
      },
      store: target(call),
      acceptConfiguration: call.flag("accept-configuration"),
      onBytes: (bytes) => bar.advance(bytes),
    });
    return {
      text: [
        `signer ${facts.signer} of ${facts.made} in ${folder.root}: ${facts.entries} entries and ${facts.keys.length} sealed keys are whole`,
        `entry ${facts.entries} of its log says that it was restored`,
        "Make sure that the original never runs again: two signers with one log contradict each other.",
      ].join("\n"),
      json: { folder: folder.root, ...facts },
    };
  } finally {
    bar.done();
  }
}

/** `--log-store`: the word folder, or a database's address. */
function target(call: Call): Target {
  const [url, file] = [call.text("log-store"), call.text("log-password-file")];
  if (url === undefined || url === "folder") {
    if (file !== undefined) throw usage("--log-password-file goes with --log-store postgres://…");
    return url ?? null;
  }
  if (!/^postgres(?:ql)?:\/\/\S+$/.test(url))
    throw usage('--log-store is "folder" or postgres://USER@HOST/DATABASE.');
  return { url, ...(file === undefined ? {} : { "password-file": resolve(file) }) };
}
