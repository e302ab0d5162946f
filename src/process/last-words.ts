// What of a failed program's output people need: the line in which it first said what is wrong, and the end.

/** Lengths in characters; together with the reason they fit into a report. */
const LONGEST_LINE = 300;
const LONGEST_END = 300;

/** Words by which programs of all languages announce an error; names such as ModuleNotFoundError count. */
const TELLS =
  /(?:[A-Za-z]*(?:error|exception)|fatal|panic(?:ked)?|failed|failure|cannot|could not|unable to|not found|no such file|denied|refused|in use|segmentation fault|abort(?:ed)?|critical|emerg)\b/i;
/** Lines that have such words and say nothing yet, or that all is well. */
const SAYS_NOTHING =
  /^\s*(?:throw\b|traceback|at\s|\^|file ")|\b(?:no|0|without) (?:errors?|exceptions?|failures?)\b|\berrors?[=: ]+0\b/i;

/** The first line that says what went wrong; null if none does. */
export function firstErrorLine(output: string): string | null {
  for (const line of output.split(/\r?\n/)) {
    const text = line.trim();
    if (text !== "" && TELLS.test(text) && !SAYS_NOTHING.test(line)) return shorten(text, LONGEST_LINE);
  }
  return null;
}

/** Of the first part and the end of an output; empty if there was none. The line is not repeated when the end shows it. */
export function lastWords(head: string, tail: string): string {
  const end = tail.trim().slice(-LONGEST_END).trim();
  if (end === "") return "";
  const first = firstErrorLine(head) ?? firstErrorLine(tail);
  const told = first === null || end.includes(first) ? "" : `; its first error: ${first}`;
  return `${told}; the end of its output: ${end}`;
}

function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
