// What `agent build` does: the agent as one executable. Signing comes after, as the last step.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { fromUtf8, toUtf8 } from "../../../core/bytes.ts";
import { formatInstant, SECOND, type Instant } from "../../../core/instant.ts";
import { moduleBeside } from "../../../core/module-beside.ts";
import { certificatePem, parseCertificatesPem, spkiPin } from "../../../der/x509.ts";
import { imagePublisher, PUBLISHER_ASSET } from "../../agent/self-check.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { ownVersion } from "../../framework/own-program.ts";
import { size } from "../../framework/style.ts";
import { makeExecutable, STEPS } from "./executable.ts";
import { ownTarget, parseTarget, TARGETS, type Target } from "./node-program.ts";

export async function agentBuild(call: Call): Promise<Result> {
  const { context } = call;
  const out = resolve(call.needed("out"));
  const target = targetOf(call);
  const publisher = await publisherOf(call);
  const version = ownVersion();
  const bar = context.progress("building", STEPS);
  const bytes = await makeExecutable({
    entry: moduleBeside("../../agent/main", import.meta.url).pathname,
    version,
    target,
    out,
    // What only the operator's programs need of what the table's commands name.
    external: ["koffi", "esbuild"],
    assets: publisher === null ? {} : { [PUBLISHER_ASSET]: publisher },
    step: () => bar.advance(1),
  });
  bar.done();
  return {
    text: [
      `${out}: upkeep-agent ${version} for ${target}, ${size(bytes)}`,
      publisher === null
        ? "built for no publisher: it cannot check itself at start; give --publisher-cert for devices that matter"
        : "it runs only with its publisher's signature: sign it now with upkeep sign",
    ].join("\n"),
    json: { file: out, version, platform: target, bytes, checksItself: publisher !== null },
  };
}

function targetOf(call: Call): Target {
  const text = call.text("platform");
  const target = text === undefined ? ownTarget() : parseTarget(text);
  if (target !== null) return target;
  throw usage(
    text === undefined
      ? `Executables are not made for ${process.platform} on ${process.arch}.`
      : `--platform takes ${TARGETS.join(", ")}; ${text} is none of them.`,
  );
}

async function publisherOf(call: Call): Promise<string | null> {
  const [chain, root] = [call.text("publisher-cert"), call.text("publisher-root")];
  if (chain === undefined && root === undefined) return null;
  if (chain === undefined || root === undefined)
    throw usage("--publisher-cert and --publisher-root belong together.");
  const certificates = async (file: string) => {
    const found = parseCertificatesPem(fromUtf8(await readFile(resolve(file))));
    if (found.length === 0) throw usage(`${file} holds no certificate in PEM form.`);
    return found;
  };
  const [leaf] = await certificates(chain);
  const roots = toUtf8((await certificates(root)).map(certificatePem).join(""));
  return imagePublisher(roots, [spkiPin(leaf!)], formatInstant(builtAt(call)));
}

/** The time that is written into the program: now, or what SOURCE_DATE_EPOCH says for a build that others can repeat. */
function builtAt({ context }: Call): Instant {
  const text = process.env["SOURCE_DATE_EPOCH"];
  if (text === undefined || text === "") return context.clock.now();
  if (!/^\d{1,10}$/.test(text)) throw usage("SOURCE_DATE_EPOCH is a number of seconds since 1970.");
  return Number(text) * SECOND;
}
