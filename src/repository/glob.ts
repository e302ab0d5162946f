// Path patterns of delegations: literals, `*`, `?`, `[seq]` and `[!seq]`, within one segment; in time linear per star.

/** TUF 4.5, PATHPATTERN: shell-style wildcards; a slash is matched by a slash only. Nothing else is special. */
export function matchesPattern(pattern: string, name: string): boolean {
  const patterns = pattern.split("/");
  const segments = name.split("/");
  return patterns.length === segments.length && patterns.every((part, i) => segment(part, segments[i]!));
}

/** Backtracks to the last star only, so the work is at most the product of both lengths. */
function segment(pattern: string, text: string): boolean {
  let [p, t, star, mark] = [0, 0, -1, 0];
  while (t < text.length) {
    const step = p < pattern.length && pattern[p] !== "*" ? one(pattern, p, text[t]!) : 0;
    if (step > 0) {
      p += step;
      t++;
    } else if (pattern[p] === "*") {
      star = p++;
      mark = t;
    } else if (star >= 0) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** Length of the pattern element at `p` if it matches the character, else 0. */
function one(pattern: string, p: number, c: string): number {
  if (pattern[p] === "?") return 1;
  if (pattern[p] !== "[") return pattern[p] === c ? 1 : 0;
  const negated = pattern[p + 1] === "!";
  const first = p + (negated ? 2 : 1);
  // A "]" in the first place stands for itself, as in the shell; without an end the bracket is a literal.
  const end = pattern.indexOf("]", first + 1);
  if (end < 0) return c === "[" ? 1 : 0;
  let inside = false;
  for (let i = first; i < end; i++) {
    if (pattern[i + 1] === "-" && i + 2 < end) {
      inside ||= c >= pattern[i]! && c <= pattern[i + 2]!;
      i += 2;
    } else {
      inside ||= c === pattern[i];
    }
  }
  return inside === negated ? 0 : end - p + 1;
}
