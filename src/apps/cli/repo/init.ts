// What `repo init` does: keys, first root, first publication; or a ceremony for people who do not meet.

import { resolve } from "node:path";
import { sha256Hex } from "../../../core/digest.ts";
import { parseJson, type Json } from "../../../core/json.ts";
import { checkSchema, nameSchema, z } from "../../../core/schema.ts";
import { KeyError } from "../../../keys/errors.ts";
import type { KeyInfo } from "../../../keys/key-file.ts";
import { parseTufKey } from "../../../keys/public-key.ts";
import type { Scheme } from "../../../keys/scheme.ts";
import { emptyTargets } from "../../../repository/publish/draft.ts";
import {
  firstTrustedKeys,
  makeRoot,
  putTrustedKeys,
  type NamedKey,
} from "../../../repository/publish/new-repository.ts";
import { existsAlready, hasRepository } from "../../../repository/publish/published.ts";
import { conclude, loadRequest, requestPath, waitingLines } from "./ceremony.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { operatorOf, type Operator } from "./operator.ts";

export async function repoInit(call: Call): Promise<Result> {
  const { context } = call;
  const operator = operatorOf(call);
  const files = call.list("root-key");
  const rootKeys = files.length > 0 ? files.length : (call.whole("root-keys", 1, 16) ?? 3);
  const threshold = call.whole("root-threshold", 1, 16) ?? Math.floor(rootKeys / 2) + 1;
  if (threshold > rootKeys) throw usage(`--root-threshold cannot be more than the ${rootKeys} root keys.`);
  const expiryDays = call.whole("timestamp-days", 1, 30) ?? 1;
  if (call.flag("ceremony") && files.length === 0) {
    throw usage(
      "A ceremony needs the public keys of its signers.",
      "Each runs `upkeep key new NAME --passphrase` and hands over `upkeep key show NAME --out NAME.json`; then --root-key NAME.json for each.",
    );
  }
  if ((await operator.memory.load()) !== null || (await hasRepository(context.disk, operator.folder)))
    throw existsAlready(operator.folder);
  const open = await loadRequest(context.disk, requestPath(call));
  if (open !== null) {
    return {
      text: ["The ceremony is under way.", ...waitingLines(open)].join("\n"),
      json: { request: requestPath(call) },
      exit: EXIT.pending,
    };
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
  if (files.length > 0) for (const file of files) root.push(await readPublicKey(call, file));
  else for (let i = 1; i <= rootKeys; i++) root.push(await key(`root-${i}`, passphrase));
  if (new Set(root.map((one) => Buffer.from(one.key.spki).toString("hex"))).size !== root.length)
    throw usage("Two root keys are the same key.");
  const targetsFiles = call.list("targets-key");
  const targets: NamedKey[] = [];
  for (const file of targetsFiles) targets.push(await readPublicKey(call, file));
  if (targets.length === 0) targets.push(await key("targets", passphrase));
  const online = await key("online", null);
  await key("products", null);
  // A second algorithm family on the way to a device: whoever breaks one has not broken the other.
  const releases = await key("releases", null, "ecdsa-sha2-nistp256");
  const director = await key("director", null);
  // Its whole power is to ask a device to look.
  const messenger = await key("messenger", null);

  const targetsThreshold = call.whole("targets-threshold", 1, targets.length) ?? 1;
  if (rootKeys > 1 && threshold === rootKeys) context.note(noReserve("root", threshold));
  if (targets.length > 1 && targetsThreshold === targets.length)
    context.note(noReserve("targets", targetsThreshold));

  const body = makeRoot({
    root: { keys: root, threshold },
    targets: { keys: targets, threshold: targetsThreshold },
    snapshot: { keys: [online], threshold: 1 },
    timestamp: { keys: [online], threshold: 1, period: { expiryDays, signingDays: 0 } },
  });
  const outcome = await operator.publisher.create(body, async (draft) => {
    draft.put("targets", emptyTargets());
    draft.trace("repository/begun", "repository", {
      before: null,
      after: root.map(({ key: { keyid } }) => keyid),
      threshold,
    });
    const placed = await putTrustedKeys(draft, firstTrustedKeys(releases.key, director.key, messenger.key));
    await operator.publisher.placeBytes(placed.name, placed.file, placed.bytes);
  });
  const concluded = await conclude(call, outcome, "begin the repository");
  if (outcome.kind === "waiting") return concluded;
  const id = sha256Hex((await operator.publisher.read()).roots[0]!.bytes);
  const advice =
    files.length > 0
      ? []
      : [
          "",
          `Before the first device: move root-*.key.json and targets.key.json from ${context.data}/keys`,
          "to media that you lock away; daily work needs products, releases and online only.",
        ];
  return {
    text: [
      `repository ${id}`,
      `root: ${threshold} of ${rootKeys} keys must sign; targets: ${targets.length} key${targets.length === 1 ? "" : "s"}; snapshot and timestamp: online key`,
      concluded.text,
      ...advice,
    ].join("\n"),
    json: {
      repository: id,
      root: { threshold, keys: root.map(({ name, key: { keyid } }) => ({ name, keyid })) },
      ...concluded.json,
    },
  };
}

/** Said before it is done. */
export function noReserve(role: string, threshold: number): string {
  return `${role}: all ${threshold} keys must sign and there is none in reserve: when one is lost, the role can never be signed again`;
}

const publicKeySchema = z.looseObject({ name: nameSchema, keyid: z.string(), public: z.unknown() });

/** What `key show --out` writes. */
export async function readPublicKey(call: Call, file: string): Promise<NamedKey> {
  const bytes = await call.context.disk.read(resolve(file), 64 * 1024);
  const value = checkSchema(publicKeySchema, parseJson(bytes), `public key in ${file}`);
  const key = parseTufKey(value.public as Json);
  if (key.keyid !== value.keyid) {
    throw new KeyError("key/mismatch", `The key in ${file} does not have the id that stands beside it.`, {
      file,
    });
  }
  return { name: value.name, key };
}

export async function findOrMake(
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
