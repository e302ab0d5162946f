// The words of signtool, turned into ours: a build script changes the path of the tool and nothing else.

import { usage } from "../../framework/errors.ts";

/** What one of its options becomes: our option with its value, a switch, or words why not. */
type Rule =
  | { readonly to: string; readonly value?: boolean; readonly drop?: boolean }
  | { readonly ignore: true; readonly value?: boolean }
  | { readonly refuse: string };

const SIGN: { readonly [option: string]: Rule } = {
  a: { ignore: true },
  ac: { to: "--add-cert", value: true },
  as: { to: "--append" },
  c: { ignore: true, value: true },
  csp: { ignore: true, value: true },
  d: { to: "--description", value: true },
  debug: { ignore: true },
  dg: { refuse: "writing a digest for signing elsewhere" },
  di: { refuse: "taking in a signed digest" },
  dlib: { refuse: "a signing library of another program" },
  dmdf: { refuse: "metadata for a signing library" },
  ds: { refuse: "signing a bare digest" },
  du: { to: "--url", value: true },
  dxml: { refuse: "writing digests as XML" },
  f: { to: "--cert", value: true },
  fd: { to: "--hash", value: true },
  i: { to: "--issuer", value: true },
  kc: { refuse: "a key container of Windows; --pkcs11-module names a token" },
  n: { to: "--subject", value: true },
  nph: { ignore: true },
  p: { to: "--password-in-argv", value: true },
  p7: { refuse: "PKCS#7 files of any content; .sig files are what `upkeep sign --detached` makes" },
  ph: { to: "--page-hashes" },
  q: { to: "--quiet" },
  r: { ignore: true, value: true },
  rmc: { refuse: "relaxed marker checks" },
  s: { ignore: true, value: true },
  sa: { refuse: "further attributes" },
  seal: { refuse: "sealing" },
  sha1: { to: "--sha1", value: true },
  sm: { ignore: true },
  t: { to: "--legacy-timestamp-url", value: true },
  td: { to: "--timestamp-hash", value: true },
  tr: { to: "--timestamp-url", value: true },
  u: { ignore: true, value: true },
  uw: { ignore: true },
  v: { to: "--verbose" },
};

/**
 * What differs when the signing service signs: it has authorities and a chain of its own. `/tr` is the wish for a stamp, whose authority the service
 * chooses; `/td` names the digest that its stamps have anyway, or is refused.
 */
const SIGN_AT_SERVICE: typeof SIGN = {
  ac: { refuse: "adding certificates: the signing service adds the chain" },
  p: { refuse: "a password on the command line: the signing service takes none from there" },
  t: { refuse: "a timestamp of the old kind: the signing service makes those of RFC 3161, /tr" },
  tr: { to: "--timestamp", drop: true, value: true },
};

const VERIFY: { readonly [option: string]: Rule } = {
  a: { ignore: true },
  all: { ignore: true },
  d: { ignore: true },
  debug: { ignore: true },
  ds: { ignore: true, value: true },
  hash: { ignore: true, value: true },
  kp: { to: "--strict" },
  pa: { ignore: true },
  pg: { ignore: true, value: true },
  ph: { ignore: true },
  q: { to: "--quiet" },
  r: { to: "--root-subject", value: true },
  sha1: { to: "--sha1", value: true },
  tw: { ignore: true },
  v: { to: "--verbose" },
  ad: { refuse: "looking up catalogs of this machine" },
  ag: { refuse: "looking up catalogs of this machine" },
  as: { refuse: "looking up catalogs of this machine" },
  c: { refuse: "checking a file against a catalog" },
};

const TIMESTAMP: { readonly [option: string]: Rule } = {
  debug: { ignore: true },
  q: { to: "--quiet" },
  t: { refuse: "adding an old-style timestamp to a signed file; /tr names an RFC 3161 authority" },
  td: { to: "--timestamp-hash", value: true },
  tp: { refuse: "choosing a nested signature" },
  tr: { to: "--timestamp-url", value: true },
  v: { to: "--verbose" },
};

const REMOVE: { readonly [option: string]: Rule } = {
  c: { refuse: "removing certificates from a signature" },
  debug: { ignore: true },
  q: { to: "--quiet" },
  s: { ignore: true },
  u: { refuse: "removing the unsigned attributes of a signature" },
  v: { to: "--verbose" },
};

const COMMANDS: { readonly [command: string]: { readonly [option: string]: Rule } } = {
  sign: SIGN,
  verify: VERIFY,
  timestamp: TIMESTAMP,
  remove: REMOVE,
};

/** Our own words that stand for themselves; all others have their value attached (`--jobs=8`), so that nothing is guessed. */
const SWITCHES: ReadonlySet<string> = new Set(
  "--json --quiet --no-color --verbose --help --skip-signed --replace --append --dry-run --recheck --explain --strict --detached --require-stripped --timestamp --one-release --leave-pending".split(
    " ",
  ),
);

/**
 * Translates a command line if it is written in signtool's way (options that begin with `/`); others are returned as they are.
 * Options of ours may stand before the command and among signtool's. `service`: a signing service is named by the environment; it signs unless `/f` names a
 * certificate file. Errors: `cli/usage`.
 */
export function fromSigntool(words: readonly string[], service = false): readonly string[] {
  let begin = 0;
  while (words[begin]?.startsWith("--") === true) begin += words[begin] === "--data" ? 2 : 1;
  const [command, ...rest] = words.slice(begin);
  const name = (command ?? "").toLowerCase();
  const own = COMMANDS[name];
  const remote = name === "sign" && (rest.some(isServiceWord) || (service && !rest.some(isFileWord)));
  const rules = own === SIGN && remote ? { ...SIGN, ...SIGN_AT_SERVICE } : own;
  if (rules === undefined || !rest.some((word) => ruleFor(rules, word) !== undefined)) return words;
  const out: string[] = [...words.slice(0, begin), name];
  // signtool replaces a signature unless told to add one.
  const kept = ["/as", "-as", "--append", "--skip-signed", "--replace"];
  if (name === "sign" && !rest.some((word) => kept.includes(word.toLowerCase()))) out.push("--replace");
  const files: string[] = [];
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i]!;
    const rule = ruleFor(rules, word);
    if (rule === undefined) {
      if (word.startsWith("--")) out.push(ourOwn(word));
      else files.push(word);
      continue;
    }
    if ("refuse" in rule) throw usage(`${word} (${rule.refuse}) is not supported.`);
    const value = rule.value === true ? rest[++i] : undefined;
    if (rule.value === true && value === undefined) throw usage(`${word} needs a value.`);
    if ("to" in rule)
      out.push(rule.to, ...(value === undefined || rule.drop === true ? [] : [valueOf(rule.to, value)]));
  }
  return [...out, "--", ...files];
}

function isServiceWord(word: string): boolean {
  return word === "--service" || word.startsWith("--service=");
}

function isFileWord(word: string): boolean {
  return /^[/-]f$/i.test(word);
}

function ourOwn(word: string): string {
  if (SWITCHES.has(word) || /^--[a-z0-9-]+=/.test(word)) return word;
  throw usage(
    `${word} stands among signtool's words without a value.`,
    `Attach its value (${word}=VALUE), or write the whole line in upkeep's own words.`,
  );
}

/** Options are known by name, so that `/home/x.exe` stays a file. */
function ruleFor(rules: { readonly [option: string]: Rule }, word: string): Rule | undefined {
  const match = /^[/-]([A-Za-z0-9]{1,5})$/.exec(word);
  return match === null
    ? undefined
    : Object.hasOwn(rules, match[1]!.toLowerCase())
      ? rules[match[1]!.toLowerCase()]
      : undefined;
}

function valueOf(option: string, value: string): string {
  if (option !== "--hash" && option !== "--timestamp-hash") return value;
  const lower = value.toLowerCase().replace(/^sha-/, "sha");
  // "certHash" asks for the digest of the certificate, which is SHA-256 for all that authorities give out today.
  return lower === "certhash" ? "sha256" : lower;
}
