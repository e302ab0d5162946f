// The licenses of a running agent: opened at its start, asked for by its owner, and shown to programs of this device.

import { LicenseKeeper, type ProductStatus } from "../../agent/license-keeper.ts";
import type { Agent } from "../../agent/agent.ts";
import type { DeviceIdentity, World } from "../../agent/ports.ts";
import { toBase64 } from "../../core/bytes.ts";
import { formatInstant } from "../../core/instant.ts";
import type { Json } from "../../core/json.ts";
import { checkSchema, nameSchema, z } from "../../core/schema.ts";
import { licenseReading } from "../../io/device/license-reading.ts";
import { listenForLicenses, type LicenseQuestion } from "../../io/device/license-socket.ts";
import { claimSchema } from "../../license/device-documents.ts";
import { LicenseError } from "../../license/errors.ts";
import { evaluate } from "../../license/evaluate.ts";
import { licenseIdSchema } from "../../license/terms.ts";
import type { MetadataStore } from "../../repository/client/store.ts";

const METADATA = 16 * 1024 * 1024;
/** How often the known time and the counters are kept. */
const TICK = 60_000;

export function licenseKeeper(
  folder: string,
  world: World,
  identity: DeviceIdentity,
  trustedRoot: Uint8Array,
  store: MetadataStore,
): LicenseKeeper {
  return new LicenseKeeper({
    world,
    folder: `${folder}/licenses`,
    identity,
    reading: licenseReading,
    trustedRoot,
    chain: () => chainOf(store),
  });
}

/** Every root after the first that the device has followed, and the targets role. */
async function chainOf(store: MetadataStore) {
  const roots: Uint8Array[] = [];
  for (let version = 2; ; version++) {
    const root = await store.loadRoot(version, METADATA);
    if (root === null) break;
    roots.push(root);
  }
  const targets = await store.load("targets", METADATA);
  if (targets === null)
    throw new LicenseError("license/none", "This device has not read its repository yet.");
  return { roots, targets };
}

/** What the owner may ask over the control socket. A code is a secret until it is used: it comes in the request, never in an argument. */
export const licenseRequests = [
  z.strictObject({ do: z.literal("license-show") }),
  z.strictObject({
    do: z.enum(["license-activate", "license-request"]),
    product: nameSchema,
    claim: z.exactOptional(claimSchema),
    license: z.exactOptional(licenseIdSchema),
  }),
  z.strictObject({ do: z.literal("license-import"), path: z.string().check(z.maxLength(4096)) }),
  z.strictObject({ do: z.literal("license-release"), product: nameSchema }),
] as const;
export type LicenseRequest = z.infer<(typeof licenseRequests)[number]>;

export async function obeyLicense(agent: Agent, asked: LicenseRequest): Promise<Json> {
  const { licenses, repository, server, world } = agent.parts;
  if (licenses === undefined)
    throw new LicenseError("license/none", "This device cannot speak for itself now, and has no licenses.");
  const { licensing } = server;
  switch (asked.do) {
    case "license-show":
      return statusJson(licenses);
    case "license-activate": {
      if (!licenses.ready) await licenses.follow(await repository.refresh(world.clock.now(), agent.stopped));
      return productJson(await licenses.activate(wishOf(asked), licensing, agent.stopped));
    }
    case "license-request":
      return { request: toBase64(await licenses.request(wishOf(asked))) };
    case "license-import":
      return productJson(await licenses.bring(await world.disk.read(asked.path, 256 * 1024)));
    case "license-release":
      return { receipt: toBase64(await licenses.release(asked.product, licensing, agent.stopped)) };
  }
}

function wishOf({
  product,
  claim,
  license,
}: Extract<LicenseRequest, { do: "license-activate" | "license-request" }>) {
  return {
    product,
    ...(claim === undefined ? {} : { claim }),
    ...(license === undefined ? {} : { license }),
  };
}

async function statusJson(licenses: LicenseKeeper): Promise<Json> {
  const { products, ...rest } = await licenses.statuses();
  return { ...rest, products: products.map(productJson) } as unknown as Json;
}

export function productJson({ standing, ...same }: ProductStatus): { readonly [name: string]: Json } {
  const { updates, notices, until, ...shown } = standing;
  return {
    ...same,
    ...shown,
    until: until === null ? null : formatInstant(until),
    updates,
    notices,
  } as unknown as { readonly [name: string]: Json };
}

/** Opens the socket for programs, and keeps time and counters until `signal` aborts. */
export async function serveLicenses(
  agent: Agent,
  folder: string,
  signal: AbortSignal,
): Promise<{ close(): Promise<void> }> {
  const { licenses, world } = agent.parts;
  if (licenses === undefined) return { close: async () => {} };
  const socket = await listenForLicenses(`${folder}/licenses`, (question) =>
    answer(licenses, question),
  ).catch((error: unknown) => {
    // Programs then have their fallback; the device is kept up to date all the same.
    world.log({ level: "error", event: "license-socket", message: String(error) });
    return { close: async () => {} };
  });
  void (async () => {
    while (!signal.aborted) {
      await world.clock.sleep(TICK, signal).catch(() => undefined);
      if (!signal.aborted) await licenses.tick();
    }
  })();
  return socket;
}

const proveSchema = z.strictObject({
  nonce: z.string().check(z.regex(/^[0-9a-f]{64}$/, "expected 32 bytes in hex")),
});
const useSchema = z.strictObject({ feature: nameSchema, granted: z.boolean() });

async function answer(
  licenses: LicenseKeeper,
  { method, path, body }: LicenseQuestion,
): Promise<Json | null> {
  const [product, what, name, ...more] = path;
  if (product === undefined || more.length > 0 || !z.safeParse(nameSchema, product).success) return null;
  if (method === "GET" && what === undefined) return productJson(await licenses.status(product));
  if (method === "GET" && what === "features" && name !== undefined) {
    const { standing } = await licenses.status(product);
    const found = evaluate(standing, name);
    await licenses.count(product, name, found.value);
    return found as unknown as Json;
  }
  if (method !== "POST" || name !== undefined) return null;
  if (what === "prove")
    return licenses.prove(product, checkSchema(proveSchema, body, "question for a proof").nonce);
  if (what === "use") {
    const { feature, granted } = checkSchema(useSchema, body, "report of use");
    await licenses.count(product, feature, granted);
    return { counted: true };
  }
  return null;
}
