// Where the bytes of the last release came from, as a sentence of `agent status`.

import type { ComponentStatus } from "../../agent/status.ts";
import { size } from "../framework/style.ts";

const SOURCES = [
  ["origin", "from the server"],
  ["mirror", "from mirrors"],
  ["peer", "from neighbors"],
  ["bundle", "from a bundle"],
  ["patch", "as patches"],
  ["own", "from the version before"],
] as const;

/** Where the last release's bytes came from; null when a status of an older agent does not say. */
export function fetchedLine(fetched: ComponentStatus["fetched"]): string | null {
  if (fetched === null) return null;
  const parts = SOURCES.flatMap(([name, words]) => {
    const bytes = fetched[name];
    return bytes === undefined ? [] : [`${size(bytes)} ${words}`];
  });
  if (parts.length === 0) return null;
  const detour = fetched.detour === undefined ? "" : ` (after ${fetched.detour})`;
  return `The last release came ${parts.join(", ")}${detour}.`;
}
