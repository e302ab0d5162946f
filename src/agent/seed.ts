// What is installed, as the bytes of the artifact that it came from: the old file of a patch.

import { createHash } from "node:crypto";
import { MAX_FILE } from "../delta/hd1-format.ts";
import { SlotError } from "../slot/errors.ts";
import { slotPath, type SlotId } from "../slot/layout.ts";
import { readFile } from "../slot/read-file.ts";
import { readRecord, type SlotRecord } from "../slot/record.ts";
import type { Component } from "./component.ts";
import { installedTar, installedTarLength } from "./installed-tar.ts";

type Seeded = Pick<Component, "world" | "layout" | "digestOf">;

/** How the bytes can be had again; null when they cannot: of a foreign archive nothing remains but what was in it. */
function formOf(record: SlotRecord): "file" | "tar" | null {
  if (record.artifactLength > MAX_FILE) return null;
  const [only, ...more] = record.files.filter(({ kind }) => kind === "file");
  if (more.length === 0 && only?.kind === "file" && only.sha256 === record.id.sha256) return "file";
  return installedTarLength(record.files) === record.artifactLength ? "tar" : null;
}

/** True if the bytes of the slot's artifact can be had again. Errors: `slot/damaged`, `disk/*`. */
export async function isSeed(component: Seeded, id: SlotId): Promise<boolean> {
  const { world, layout } = component;
  return formOf(await readRecord(world.disk, layout, id, component.digestOf(id))) !== null;
}

/** The bytes, whole in memory, with the digest that was signed. Errors: `slot/damaged`, `disk/*`. */
export async function readSeed(component: Seeded, id: SlotId): Promise<Uint8Array> {
  const { world, layout } = component;
  const record = await readRecord(world.disk, layout, id, component.digestOf(id));
  const path = slotPath(layout, id);
  const form = formOf(record);
  const file = record.files.find(({ kind }) => kind === "file");
  const parts =
    form === "file" && file !== undefined
      ? readFile(world.disk, `${path}/${file.path}`)
      : installedTar(world.disk, path, record.files);
  const bytes = new Uint8Array(form === null ? 0 : record.artifactLength);
  const hash = createHash("sha256");
  let at = 0;
  for await (const part of parts) {
    if (at + part.length > bytes.length) break;
    bytes.set(part, at);
    hash.update(part);
    at += part.length;
  }
  if (at === bytes.length && hash.digest("hex") === id.sha256) return bytes;
  throw new SlotError(
    "slot/damaged",
    `What is installed in ${path} is not what was signed, so no patch can be applied to it.`,
    { path, expected: id.sha256 },
  );
}
