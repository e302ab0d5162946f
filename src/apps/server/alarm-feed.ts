// The newest alarms as an Atom feed (RFC 4287), for readers that people have already.

import { formatInstant } from "../../core/instant.ts";
import { sha256Hex } from "../../core/digest.ts";
import { toUtf8 } from "../../core/bytes.ts";
import type { Alarm } from "../../fleet/records.ts";
import type { FleetStore } from "../../fleet/store.ts";

const ENTRIES = 200;

/** Errors: `fleet/store-*`. */
export async function alarmFeed(store: Pick<FleetStore, "read">): Promise<string> {
  return feedOf(await store.read((records) => records.alarms(ENTRIES, true)));
}

export function feedOf(alarms: readonly Alarm[]): string {
  const updated = formatInstant(Math.max(0, ...alarms.map(({ last, ended }) => ended ?? last)));
  return [
    '<?xml version="1.0" encoding="utf-8"?>',
    '<feed xmlns="http://www.w3.org/2005/Atom">',
    "<title>Alarms of the fleet</title>",
    "<id>urn:upkeep:alarms</id>",
    `<updated>${updated}</updated>`,
    ...alarms.map(entryOf),
    "</feed>",
    "",
  ].join("\n");
}

function entryOf({ device, code, about, first, last, ended, count, detail }: Alarm): string {
  const id = sha256Hex(toUtf8(JSON.stringify([device, code, about, first]))).slice(0, 32);
  const state = ended === null ? "open" : `over since ${formatInstant(ended)}`;
  return [
    "<entry>",
    `<id>urn:upkeep:alarm:${id}</id>`,
    `<title>${xml(`${code}${about === "" ? "" : ` (${about})`} on ${device}: ${state}`)}</title>`,
    `<published>${formatInstant(first)}</published>`,
    `<updated>${formatInstant(ended ?? last)}</updated>`,
    "<author><name>upkeep</name></author>",
    `<content type="text">${xml(`${detail} Times: ${count}.`)}</content>`,
    "</entry>",
  ].join("\n");
}

/** Some of it is a device's own words: what XML 1.0 has no place for is left out. */
function xml(text: string): string {
  const letters: { readonly [letter: string]: string } = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
  };
  return (
    text
      .toWellFormed()
      // eslint-disable-next-line no-control-regex -- control characters are what is left out
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "")
      .replace(/[&<>"]/g, (letter) => letters[letter]!)
  );
}
