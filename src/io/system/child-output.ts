// What a child writes to its standard error, as lines of its parent's log.

import type { Readable } from "node:stream";
import { isJsonObject, parseJsonText } from "../../core/json.ts";
import { oneLine, type Log } from "./log.ts";

/** Longer than any line of the structured log. */
const LIMIT = 16 * 1024;

/**
 * Structured lines pass as they are; anything else (a crash of the engine, a library that prints) becomes the text of an event `output`, so
 * that every line of the log is one JSON object.
 */
export function relayLines(stream: Readable, child: string, write: (line: string) => void, say: Log): void {
  let rest = "";
  const line = (text: string): void => {
    if (text === "") return;
    if (isLogLine(text)) write(`${oneLine(text)}\n`);
    else say("warn", "output", { process: child, text: text.slice(0, 2000) });
  };
  stream.setEncoding("utf8");
  stream.on("data", (part: string) => {
    const lines = (rest + part).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(line);
    if (rest.length <= LIMIT) return;
    line(rest.slice(0, LIMIT));
    rest = "";
  });
  stream.once("end", () => line(rest));
  stream.on("error", () => {});
}

function isLogLine(text: string): boolean {
  if (!text.startsWith('{"time":') || text.length > LIMIT) return false;
  try {
    const value = parseJsonText(text);
    return isJsonObject(value) && typeof value["level"] === "string" && typeof value["event"] === "string";
  } catch {
    return false;
  }
}
