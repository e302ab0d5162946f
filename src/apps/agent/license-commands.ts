// What the verbs of `agent license` do, and `license check` on a device.

import { resolve } from "node:path";
import { fromBase64 } from "../../core/bytes.ts";
import { statOrNull, writeAtomic } from "../../core/disk.ts";
import { ReportedError } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import { nameSchema, z } from "../../core/schema.ts";
import { askLicenseSocket } from "../../io/device/license-client.ts";
import { askAgent, ControlError } from "../../io/system/control-socket.ts";
import type { Call, Result } from "../framework/command.ts";
import { usage } from "../framework/errors.ts";
import { EXIT } from "../framework/exit-codes.ts";
import { noLog } from "../../io/system/log.ts";
import { traitOf } from "./known-codes.ts";
import type { LicenseRequest } from "./licenses.ts";

type Shown = {
  readonly product: string;
  readonly license: string | null;
  readonly customer: string | null;
  readonly seat: { readonly slot: number; readonly of: number } | null;
  readonly lease: string | null;
  readonly renewAfter: string | null;
  readonly state: string;
  readonly reason: string;
  readonly degraded: boolean;
  readonly features: Readonly<Record<string, true | number>>;
  readonly until: string | null;
  readonly next: string;
  readonly notices: readonly { readonly code: string; readonly until?: string }[];
  readonly clock: string | null;
};

export async function agentLicenseShow(call: Call): Promise<Result> {
  const found = (await ask(call, { do: "license-show" })) as unknown as {
    readonly products: readonly Shown[];
    readonly waiting: readonly string[];
    readonly damage: string | null;
    readonly refusals: readonly {
      readonly product: string;
      readonly code: string;
      readonly message: string;
    }[];
  };
  const lines = [
    ...found.products.flatMap(textOf),
    ...found.waiting.map(
      (product) => `${product}: an activation waits for the server, or for a lease by file.`,
    ),
    ...found.refusals.map(
      ({ product, code, message }) => `${product}: the server answered ${code}: ${message}`,
    ),
    ...(found.damage === null ? [] : [found.damage]),
  ];
  return { text: lines.length === 0 ? "This device has no licenses." : lines.join("\n"), json: found };
}

function textOf(shown: Shown): readonly string[] {
  const { product, license, customer, seat, state, reason, features, until, next, notices, clock } = shown;
  const names = Object.entries(features).map(([name, value]) => (value === true ? name : `${name}=${value}`));
  const held =
    license === null
      ? "no license"
      : `${license} of ${customer}, seat ${seat?.slot ?? "-"} of ${seat?.of ?? "-"}`;
  return [
    `${product}: ${state} (${reason}), ${held}.`,
    `  Features: ${names.join(", ") || "none"}.${until === null ? "" : ` Until ${until}.`} ${next}`,
    ...notices.map(
      ({ code, until: end }) => `  Notice: ${code}${end === undefined ? "" : `, until ${end}`}.`,
    ),
    ...(clock === null
      ? []
      : [
          `  CLOCK: this device's clock is ${clock === "behind" ? "more than a day behind" : "far ahead of"} the time that is known; the known time counts.`,
        ]),
  ];
}

export async function agentLicenseActivate(call: Call): Promise<Result> {
  const shown = (await ask(call, await wishOf(call, "license-activate"))) as unknown as Shown;
  return { text: textOf(shown).join("\n"), json: shown };
}

export async function agentLicenseRequest(call: Call): Promise<Result> {
  const out = call.needed("out");
  const { request } = (await ask(call, await wishOf(call, "license-request"))) as {
    readonly request: string;
  };
  await write(call, out, fromBase64(request));
  return {
    text: `${out} goes to the vendor: upkeep license activate ${out} --out FILE. What comes back: upkeep agent license import FILE.`,
    json: { file: resolve(out) },
  };
}

export async function agentLicenseImport(call: Call): Promise<Result> {
  const path = resolve(call.argument(0));
  if ((await statOrNull(call.context.disk, path)) === null) throw usage(`There is no file ${path}.`);
  const shown = (await ask(call, { do: "license-import", path })) as unknown as Shown;
  return { text: textOf(shown).join("\n"), json: shown };
}

export async function agentLicenseRelease(call: Call): Promise<Result> {
  const product = checkName(call.argument(0));
  const out = call.text("out");
  const { receipt } = (await ask(call, { do: "license-release", product })) as { readonly receipt: string };
  if (out !== undefined) await write(call, out, fromBase64(receipt));
  return {
    text: `The seat of ${product} is given back${out === undefined ? "" : `; ${out} is the receipt for the vendor`}. The application has its fallback from now on.`,
    json: { product, ...(out === undefined ? {} : { file: resolve(out) }) },
  };
}

/** For scripts: 0 granted, 3 not granted, 5 nobody could be asked. */
export async function licenseCheck(call: Call): Promise<Result> {
  const feature = call.argument(0);
  const product = checkName(call.needed("product"));
  const path = `/v1/license/${product}/features/${encodeURIComponent(feature)}`;
  try {
    const found = (await askLicenseSocket(`${call.context.data}/licenses`, path, null, 5000)) as {
      readonly value: boolean;
      readonly amount: number | null;
      readonly reason: string;
      readonly until: string | null;
    };
    const amount = found.amount === null ? "" : ` (${found.amount})`;
    const until = found.until === null ? "" : `, until ${found.until}`;
    return {
      text: `${feature}: ${found.value ? "granted" : "not granted"}${amount}: ${found.reason}${until}`,
      json: { feature, product, ...found },
      exit: found.value ? EXIT.ok : EXIT.refused,
    };
  } catch {
    return {
      text: `${feature}: unknown: no agent runs on ${call.context.data}.`,
      json: { feature, product, value: false, reason: "NO_AGENT", conclusive: false },
      exit: EXIT.network,
    };
  }
}

async function wishOf(call: Call, what: "license-activate" | "license-request"): Promise<LicenseRequest> {
  const product = checkName(call.argument(0));
  const license = call.text("license");
  if (license !== undefined) return { do: what, product, license };
  const claim = await call.context.secret({
    what: "Code of the license",
    env: "UPKEEP_LICENSE",
    file: call.text("code-file"),
    option: "--code-file",
  });
  return { do: what, product, claim: claim.trim().toUpperCase() };
}

/** The running agent does it; without one, the same is done here. */
async function ask(call: Call, request: LicenseRequest): Promise<Json> {
  const { context } = call;
  try {
    return await askAgent(context.data, request, context.signal);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    if (error.code !== "control/no-agent") throw asItself(error);
  }
  const { licenseOnce } = await import("./serve.ts");
  return licenseOnce({ folder: context.data, log: noLog, environment: context.terminal.env }, request);
}

/** What the agent says no with is what is said here. */
function asItself(error: ControlError): Error {
  const { code, ...facts } = error.facts;
  if (error.code !== "control/refused" || typeof code !== "string") return error;
  return new ReportedError(
    traitOf(code),
    code,
    error.message,
    facts,
    error.hint === undefined ? {} : { hint: error.hint },
  );
}

function checkName(text: string): string {
  if (z.safeParse(nameSchema, text).success) return text;
  throw usage(`"${text.slice(0, 80)}" is not a name of a product.`);
}

async function write(call: Call, file: string, bytes: Uint8Array): Promise<void> {
  if ((await statOrNull(call.context.disk, resolve(file))) !== null)
    throw usage(`There is a file ${file} already; nothing was written.`);
  await writeAtomic(call.context.disk, resolve(file), bytes, 0o644);
}
