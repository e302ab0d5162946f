// What the verbs of `repo` do.

import type { KeyInfo } from "../../keys/key-file.ts";
import { KeyError } from "../../keys/errors.ts";
import type { Scheme } from "../../keys/scheme.ts";
import { sha256Hex } from "../../core/digest.ts";
import { hasRepository } from "../../repository/published.ts";
import { PublisherError } from "../../repository/publisher-errors.ts";
import {
  firstTrustedKeys,
  makeRoot,
  putTrustedKeys,
  type NamedKey,
} from "../../repository/new-repository.ts";
import { repositoryStatus, touchDue, verdict, type RoleStatus } from "../../repository/status.ts";
import type { Call, Result } from "./command.ts";
import { usage } from "./errors.ts";
import { EXIT } from "./exit-codes.ts";
import { describeOutcome, operatorOf, type Operator } from "./operator.ts";
import { columns, count } from "./style.ts";

export async function repoInit(call: Call): Promise<Result> {
  const { context } = call;
  const operator = operatorOf(call);
  const rootKeys = call.whole("root-keys", 1, 16) ?? 3;
  const threshold = call.whole("root-threshold", 1, 16) ?? 2;
  if (threshold > rootKeys) throw usage("--root-threshold cannot be more than --root-keys.");
  const expiryDays = call.whole("timestamp-days", 1, 30) ?? 1;
  if (await hasRepository(context.disk, operator.folder)) {
    throw new PublisherError(
      "publisher/exists",
      `There is a repository in ${operator.folder} already.`,
      { folder: operator.folder },
      { hint: "upkeep repo status shows it." },
    );
  }
  const wrap = call.flag("passphrase") || call.text("passphrase-file") !== undefined;
  const passphrase = wrap
    ? await context.secret({
        what: "New passphrase for root and targets keys",
        env: "UPKEEP_PASSPHRASE",
        file: call.text("passphrase-file"),
        option: "--passphrase-file",
        twice: true,
      })
    : null;
  const key = async (name: string, secret: string | null, scheme: Scheme = "ed25519"): Promise<NamedKey> => ({
    name,
    key: (await findOrMake(operator, call, name, secret, scheme)).publicKey,
  });
  const root: NamedKey[] = [];
  for (let i = 1; i <= rootKeys; i++) root.push(await key(`root-${i}`, passphrase));
  const targets = await key("targets", passphrase);
  const online = await key("online", null);
  await key("products", null);
  // A second algorithm family on the way to a device: whoever breaks one has not broken the other.
  const releases = await key("releases", null, "ecdsa-sha2-nistp256");
  const director = await key("director", null);

  const body = makeRoot({
    root: { keys: root, threshold },
    targets: { keys: [targets], threshold: 1 },
    snapshot: { keys: [online], threshold: 1 },
    timestamp: { keys: [online], threshold: 1, period: { expiryDays, signingDays: 0 } },
  });
  const outcome = await operator.publisher.create(body, async (draft) => {
    const { emptyTargets } = await import("../../repository/draft.ts");
    draft.put("targets", emptyTargets());
    const placed = await putTrustedKeys(draft, firstTrustedKeys(releases.key, director.key));
    await operator.publisher.placeBytes(placed.name, placed.file, placed.bytes);
  });
  const described = describeOutcome(outcome);
  const id = sha256Hex((await operator.publisher.read()).roots[0]!.bytes);
  return {
    text: [
      `repository ${id}`,
      `root: ${threshold} of ${rootKeys} keys must sign; targets: 1 key; snapshot and timestamp: online key`,
      described.text,
      "",
      `Before the first device: move root-*.key.json and targets.key.json from ${context.data}/keys`,
      "to media that you lock away; daily work needs products, releases and online only.",
    ].join("\n"),
    json: {
      repository: id,
      root: { threshold, keys: root.map(({ name, key }) => ({ name, keyid: key.keyid })) },
      ...described.json,
    },
  };
}

export async function repoStatus(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const { context } = call;
  const published = await operator.publisher.read();
  const status = await repositoryStatus(published, context.clock.now());
  const found = verdict(status);
  const { good, warn, bad } = context.style;
  const rows = status.roles.map((role) => [
    role.role,
    String(role.version),
    role.expires,
    `${role.daysLeft} d`,
    `${role.signedBy.join(", ")} (${role.threshold} of ${role.couldSign.length})`,
    note(role),
  ]);
  const lines = [
    columns([["ROLE", "VERSION", "EXPIRES", "LEFT", "SIGNED BY", "NEXT"], ...rows]),
    ...(status.bins > 0 ? [`${count(status.bins, "hash bin")}; the one that expires first is shown`] : []),
    found === "well"
      ? good("All is well.")
      : found === "due"
        ? warn("Somebody must sign.")
        : bad("Something has expired: devices refuse updates until it is signed again."),
  ];
  return {
    text: lines.join("\n"),
    json: {
      repository: sha256Hex(published.roots[0]!.bytes),
      verdict: found,
      roles: status.roles,
      bins: status.bins,
    },
    exit: found === "well" ? EXIT.ok : found === "due" ? EXIT.pending : EXIT.failed,
  };
}

export async function repoRenew(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const now = call.context.clock.now();
  let touched: readonly string[] = [];
  const outcome = await operator.publisher.change(async (draft) => {
    touched = await touchDue(draft, now);
  });
  const done = outcome.kind === "unchanged" ? await operator.publisher.renewOnline(now) : outcome;
  const described = describeOutcome(done);
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

async function findOrMake(
  operator: Operator,
  call: Call,
  name: string,
  passphrase: string | null,
  scheme: Scheme,
): Promise<KeyInfo> {
  try {
    return await operator.keys.find(name);
  } catch (error) {
    if (!(error instanceof KeyError && error.code === "key/not-found")) throw error;
  }
  const info = await operator.keys.create({ name, scheme, passphrase, created: call.context.clock.now() });
  call.context.note(`made key ${name} (${scheme}) ${info.publicKey.keyid.slice(0, 16)}`);
  return info;
}
