// What the verbs of `repo` do.

import { sha256Hex } from "../../../core/digest.ts";
import { statOrNull } from "../../../core/disk.ts";
import { parseInstant } from "../../../core/instant.ts";
import { hasRepository } from "../../../repository/publish/published.ts";
import { requestStatus, type SigningRequest } from "../../../repository/publish/signing-request.ts";
import { repositoryStatus, touchDue, verdict, type RoleStatus } from "../../../repository/publish/status.ts";
import type { Call, Result } from "../../framework/command.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { conclude, loadRequest, refuseWhileOpen, requestPath, waitingLines } from "./ceremony.ts";
import { operatorOf } from "./operator.ts";
import { serverView } from "./server-view.ts";
import { diskStore } from "../../../repository/client/store.ts";
import { forgetTime } from "../../framework/forget-time.ts";
import { columns, count, timeLeft } from "../../framework/style.ts";

export async function repoStatus(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const { context } = call;
  const open = await loadRequest(context.disk, requestPath(call));
  if (open !== null && !(await hasRepository(context.disk, operator.folder))) return beginning(call, open);
  const published = await operator.publisher.read();
  const now = context.clock.now();
  const status = await repositoryStatus(published, now);
  const found = verdict(status);
  const server = await serverView(context);
  const { good, warn, bad } = context.style;
  const rows = status.roles.map((role) => [
    role.role,
    String(role.version),
    role.expires,
    timeLeft(parseInstant(role.expires) - now),
    `${role.signedBy.join(", ")} (${role.threshold} of ${role.couldSign.length})`,
    note(role),
  ]);
  const lines = [
    columns([["ROLE", "VERSION", "EXPIRES", "LEFT", "SIGNED BY", "NEXT"], ...rows]),
    ...(status.bins > 0 ? [`${count(status.bins, "hash bin")}; the one that expires first is shown`] : []),
    ...(open === null ? [] : [warn(`A change waits for signatures: ${open.reason}`), ...waitingLines(open)]),
    found === "well"
      ? open === null
        ? good("All is well.")
        : warn("Nothing has expired; somebody must sign the change that waits.")
      : found === "due"
        ? warn("Somebody must sign.")
        : bad("Something has expired: devices refuse updates until it is signed again."),
    ...(server === null ? [] : [server.follows ? server.sentence : bad(server.sentence)]),
  ];
  return {
    text: lines.join("\n"),
    json: {
      repository: sha256Hex(published.roots[0]!.bytes),
      verdict: found,
      roles: status.roles,
      open: open === null ? null : openJson(open),
      bins: status.bins,
      server,
    },
    exit:
      server?.follows === false
        ? EXIT.failed
        : found === "well"
          ? open === null
            ? EXIT.ok
            : EXIT.pending
          : found === "due"
            ? EXIT.pending
            : EXIT.failed,
  };
}

function openJson(open: SigningRequest) {
  return { reason: open.reason, made: open.made, waiting: requestStatus(open) };
}

/** A first ceremony that is not over: there is no repository yet, and that is as it should be. */
function beginning(call: Call, open: SigningRequest): Result {
  const lines = [
    call.context.style.warn(`There is no repository yet. A change waits for signatures: ${open.reason}`),
    ...waitingLines(open),
    `hand out ${requestPath(call)}; each signer runs: upkeep repo sign FILE`,
  ];
  return {
    text: lines.join("\n"),
    json: { repository: null, verdict: "begun", roles: [], open: openJson(open), bins: 0 },
    exit: EXIT.pending,
  };
}

export async function repoForgetTime(call: Call): Promise<Result> {
  const { disk, data, clock } = call.context;
  const folder = `${data}/server/tuf`;
  if ((await statOrNull(disk, folder)) === null)
    return { text: "No server has run on this folder.", json: { forgotten: null } };
  return forgetTime(diskStore(disk, folder), clock, "The server of this folder");
}

export async function repoRenew(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const now = call.context.clock.now();
  await refuseWhileOpen(call);
  let touched: readonly string[] = [];
  const outcome = await operator.publisher.change(async (draft) => {
    touched = await touchDue(draft, now);
  });
  const done = outcome.kind === "unchanged" ? await operator.publisher.renewOnline(now) : outcome;
  const described = await conclude(call, done, "sign again what is due");
  return {
    text: [...(touched.length > 0 ? [`signed again: ${touched.join(", ")}`] : []), described.text].join("\n"),
    json: { signed: touched, ...described.json },
    exit: described.exit,
  };
}

function note(role: RoleStatus): string {
  if (role.alarm === "expired") return `expired; sign with ${role.threshold} of ${role.couldSign.join(", ")}`;
  if (role.online) return "renewed by the server";
  if (role.due) return `sign now with ${role.threshold} of ${role.couldSign.join(", ")}`;
  return "";
}
