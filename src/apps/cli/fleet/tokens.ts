// What the verbs of `token` do.

import { resolve } from "node:path";
import { toUtf8 } from "../../../core/bytes.ts";
import { statOrNull, writeAtomic } from "../../../core/disk.ts";
import { formatInstant, HOUR } from "../../../core/instant.ts";
import { needToken, removeToken } from "../../../fleet/devices.ts";
import { addToken } from "../../../fleet/enrol.ts";
import { FleetError } from "../../../fleet/errors.ts";
import { needOrMakeGroup } from "../../../fleet/groups.ts";
import { formatToken, newToken } from "../../../identity/token.ts";
import { firstRootDigest } from "../../server/repository-watch.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns } from "../../framework/style.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { serverPin } from "./ca.ts";
import { checkName, limitOf, needConsent } from "./naming.ts";

/** A token that leaks opens so many places in the fleet: a site at most, not all of it. */
const MOST_USES = 10_000;

export async function tokenNew(call: Call): Promise<Result> {
  const { context } = call;
  const group = call.needed("group");
  checkName(group);
  const out = call.text("out");
  if (out !== undefined && (await statOrNull(context.disk, resolve(out))) !== null)
    throw usage(`There is a file ${out} already; nothing was made.`, "Name another one, or take it away.");
  const life = (call.whole("hours", 1, 168) ?? 24) * HOUR;
  const uses = call.whole("uses", 1, MOST_USES) ?? 1;
  const approval = call.flag("approve");
  const rootSha256 = await firstRootDigest(context.disk, `${context.data}/repository`);
  if (rootSha256 === null) {
    throw new FleetError(
      "fleet/no-repository",
      `There is no repository in ${context.data} yet; a token has to pin its first root.`,
      { data: context.data },
      { hint: "Run upkeep repo init first." },
    );
  }
  const token = newToken(context.random, { caSpkiSha256: await serverPin(call), rootSha256 });
  const text = formatToken(token);
  const row = await withFleet(call, async (records, now) => {
    await needOrMakeGroup(records, now, { group, create: call.flag("create") }, actor());
    const row = await addToken(records, now, { ...token, group, life, uses, approval }, actor());
    // Before the token counts: one that nobody has would be made in vain.
    if (out !== undefined) await writeAtomic(context.disk, resolve(out), toUtf8(`${text}\n`), 0o600);
    return row;
  });
  const expires = formatInstant(row.expires);
  const devices = `${uses === 1 ? "one device" : `${uses} devices`} of the group ${group}${approval ? ", each to be approved" : ""}`;
  if (out !== undefined) {
    return {
      text: `${out} holds a token for ${devices}, until ${expires}; only you can read it.`,
      json: { file: resolve(out), id: token.id, group, expires, uses, approval },
    };
  }
  context.note(`For ${devices}, until ${expires}. It is shown this once.`);
  return { text, json: { token: text, id: token.id, group, expires, uses, approval } };
}

export async function tokenList(call: Call): Promise<Result> {
  const { tokens, now } = await readFleet(call, async (records, now) => ({
    tokens: await records.tokens(limitOf(call)),
    now,
  }));
  const state = (t: (typeof tokens)[number]): string =>
    t.uses > 1 && t.usedCount < t.uses
      ? `${t.expires <= now ? "expired" : "open"}, ${t.usedCount} of ${t.uses} uses`
      : t.usedBy !== null
        ? t.uses > 1
          ? `used up by ${t.uses} devices`
          : `used by ${t.usedBy}`
        : t.expires <= now
          ? "expired"
          : "open";
  const rows = tokens.map((t) => [
    t.id,
    t.group,
    formatInstant(t.created),
    formatInstant(t.expires),
    state(t),
    String(t.failures),
  ]);
  return {
    text:
      rows.length === 0
        ? "There are no tokens."
        : columns([["TOKEN", "GROUP", "MADE", "EXPIRES", "STATE", "REFUSALS"], ...rows], call.context.width),
    json: {
      tokens: tokens.map((t) => ({
        id: t.id,
        group: t.group,
        created: formatInstant(t.created),
        expires: formatInstant(t.expires),
        used: t.used === null ? null : formatInstant(t.used),
        usedBy: t.usedBy,
        uses: t.uses,
        usedCount: t.usedCount,
        approval: t.approval,
        refusals: t.failures,
      })),
    },
  };
}

export async function tokenRemove(call: Call): Promise<Result> {
  const id = call.argument(0);
  const found = await readFleet(call, async (records, now) => ({ token: await needToken(records, id), now }));
  // One that is used or over enrols nobody: nothing is lost with it.
  if (found.token.usedCount < found.token.uses && found.token.expires > found.now)
    await needConsent(
      call,
      `The token ${id} was not used ${found.token.usedCount === 0 ? "yet" : "up"}, and will enroll nobody any more.`,
    );
  const token = await withFleet(call, (records, now) => removeToken(records, now, id, actor()));
  const used =
    token.usedBy === null
      ? "It enrolls no device any more."
      : `The device ${token.usedBy} that it enrolled stays.`;
  return {
    text: `The token ${token.id} is removed. ${used}`,
    json: { token: token.id, usedBy: token.usedBy },
  };
}
