// What `agent message` does: hands a carried message to the agent, and shows what became of those that came.

import { resolve } from "node:path";
import { toBase64, toHex } from "../../core/bytes.ts";
import { makeDirectories, writeAtomic } from "../../core/disk.ts";
import { ReportedError } from "../../core/errors.ts";
import { formatInstant } from "../../core/instant.ts";
import { dropFolderOf } from "../../agent/drop-folder.ts";
import { loadMailbox } from "../../agent/mailbox-state.ts";
import type { Verdict } from "../../agent/mailbox.ts";
import { MESSAGE_ERRORS } from "../../message/errors.ts";
import { readHeader } from "../../message/sealed/form.ts";
import { SEALED_LENGTH } from "../../message/sealed-length.ts";
import { askAgent, ControlError } from "../../io/system/control-socket.ts";
import type { Call, Result } from "../framework/command.ts";
import { columns } from "../framework/style.ts";

export async function messageDeliver(call: Call): Promise<Result> {
  const { context } = call;
  const { disk, data } = context;
  const bytes = await disk.read(resolve(call.argument(0)), SEALED_LENGTH);
  if (readHeader(bytes) === null) throw refused("wrong-form");
  try {
    const asked = { do: "deliver", message: toBase64(bytes) };
    const verdict = (await askAgent(data, asked, context.signal)) as unknown as Verdict | null;
    return said(verdict);
  } catch (error) {
    if (!(error instanceof ControlError && error.code === "control/no-agent")) throw error;
  }
  const folder = dropFolderOf(data);
  await makeDirectories(disk, folder, 0o700);
  const name = `${toHex(context.random.bytes(8))}.sealed`;
  await writeAtomic(disk, `${folder}/${name}`, bytes, 0o600);
  return {
    text: "No agent runs: the message is judged when one starts.",
    json: { verdict: "left", file: `${folder}/${name}` },
  };
}

function said(verdict: Verdict | null): Result {
  switch (verdict?.verdict) {
    case "do":
      return {
        text: `The message is followed: ${verdict.ask.kind}.`,
        json: { verdict: "followed", kind: verdict.ask.kind },
      };
    case "kept": {
      const why =
        verdict.why === "budget" ? "as many as are followed in this period were" : "it says when itself";
      return {
        text: `The message counts and is followed later (${why}): ${verdict.ask.kind}.`,
        json: { verdict: "kept", kind: verdict.ask.kind, why: verdict.why },
      };
    }
    case "early":
      return {
        text: "The message is judged after the first check, which reads who may send messages.",
        json: { verdict: "early" },
      };
    case "dropped":
      throw refused(verdict.why);
    case undefined:
      return {
        text: "This agent could not keep the message; it had no effect, and may be delivered again.",
        json: { verdict: "not-kept" },
        exit: 1,
      };
  }
}

/** Why, in words; the codes are those that `agent status` counts by. */
const REASONS: { readonly [drop: string]: string } = {
  "wrong-form": "it is no sealed message of a form that is known here",
  "other-key": "it was sealed for another device, or for a key that this one had long ago",
  seen: "the same message came a moment ago",
  unread: "too many came that proved to be nothing; try again in a minute",
  "cannot-open": "it was changed on the way, or belongs to another fleet",
  "bad-padding": "it was made by a program that does not know the form",
  "unknown-signer": "it is signed by nobody whom the repository trusts for messages",
  "bad-body": "it says what no message can say",
  "other-device": "it was meant for another device, and sealed again for this one",
  "lives-too-long": "it would be good for longer than a message may be",
  expired: "its time is over",
  "from-the-future": "it is dated after now: one of the clocks is wrong",
  replayed: "it counted before",
};

function refused(why: string): ReportedError {
  return new ReportedError(
    MESSAGE_ERRORS["message/refused"],
    "message/refused",
    `The message is refused: ${REASONS[why] ?? why}. It had no effect.`,
    { why },
  );
}

export async function messageStatus(call: Call): Promise<Result> {
  const { disk, data } = call.context;
  const { accepted, coalesced, pending, dropped } = await loadMailbox(disk, data);
  const waiting = Object.entries(pending).map(([kind, one]) => ({
    kind,
    when: one.when,
    since: formatInstant(one.since),
  }));
  const rows = [
    ["accepted", String(accepted)],
    ["of those coalesced, over the budget", String(coalesced)],
    ...waiting.map(({ kind, when, since }) => [`waits: ${kind}`, `${when}, since ${since}`]),
    ...Object.entries(dropped).map(([why, count]) => [`dropped: ${why}`, String(count)]),
  ];
  return { text: columns(rows, call.context.width), json: { accepted, coalesced, waiting, dropped } };
}
