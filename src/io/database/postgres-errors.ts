// What went wrong at a PostgreSQL server, in the few kinds that a store tells apart.

/** What a store makes its own codes of. `conflict` is nobody's fault: the transaction is to be tried again. */
export type PostgresKind =
  | "unavailable"
  | "full"
  | "corrupt"
  | "denied"
  | "certificate"
  | "foreign"
  | "conflict";

/** A sentence's end ("The database X … ."), and what may help. */
export type PostgresProblem = { readonly kind: PostgresKind; readonly what: string; readonly hint?: string };

type Row = readonly [kind: PostgresKind, what: string, hint?: string];

const RESTARTS = "Start the database server; what waits is tried again.";
const PASSWORD = "Correct the user's name, or the password in the password file.";
const BACKUP = "Stop every server that uses it and put back the last backup of this database.";

/** SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html; a row of two letters stands for its class. */
const STATES: { readonly [state: string]: Row } = {
  "08": ["unavailable", "lost the connection", RESTARTS],
  "25006": ["unavailable", "is a read-only copy", "Name the database server that takes writes."],
  "25P03": ["unavailable", "ended a transaction that took too long"],
  "28": ["denied", "does not let this user in", PASSWORD],
  "28P01": ["denied", "refuses the password", PASSWORD],
  "3D000": ["unavailable", "does not exist at this server", "Make it first: createdb --owner USER NAME"],
  "3F000": ["foreign", "lacks the tables of Upkeep"],
  "40": ["conflict", "was changed by somebody else at the same moment"],
  "42501": [
    "denied",
    "does not let this user do this",
    "Make the user the owner of the database, or grant it CREATE there.",
  ],
  "42703": ["foreign", "has tables of other columns than Upkeep's"],
  "42P01": ["foreign", "lacks a table of Upkeep"],
  "53": ["unavailable", "is short of resources"],
  "53100": ["full", "cannot be written: the disk of the database server is full"],
  "53300": [
    "unavailable",
    "takes no more connections",
    "Raise max_connections at the database server, or end what does not need its connection.",
  ],
  "55P03": ["unavailable", "is kept busy by another process"],
  "57014": ["unavailable", "took too long over one request"],
  "57": ["unavailable", "is shutting down or starting up", RESTARTS],
  "58": ["unavailable", "cannot be read or written: the database server reports a system error"],
  XX001: ["corrupt", "is damaged", BACKUP],
  XX002: ["corrupt", "is damaged", BACKUP],
};

/** Codes of Node.js for a connection that did not come about or was cut, and for certificates, https://nodejs.org/api/errors.html. */
const SYSTEM = /^(E[A-Z]+|EAI_[A-Z]+)$/;
const CERTIFICATE =
  /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/;
/** The driver's own errors have a sentence and no code. */
const SENTENCES: readonly (readonly [RegExp, Row])[] = [
  [
    /does not support SSL/i,
    [
      "certificate",
      "is at a server that does not offer TLS",
      "Switch TLS on at the database server (ssl = on), or use its socket on the same machine.",
    ],
  ],
  [/query read timeout/i, ["unavailable", "did not answer in time", RESTARTS]],
  [/timeout/i, ["unavailable", "did not answer in time", RESTARTS]],
  [
    /connection (terminated|ended|error)|client (was|has)|not queryable/i,
    ["unavailable", "lost the connection", RESTARTS],
  ],
  [
    /password must be a (non-empty )?string|no password/i,
    ["denied", "asks for a password, and none was given", PASSWORD],
  ],
];

/** Null: not an error of the database. */
export function postgresProblem(cause: unknown): (PostgresProblem & { readonly state: string }) | null {
  if (!(cause instanceof Error)) return null;
  const { code } = cause as { readonly code?: unknown };
  const row = typeof code === "string" && code !== "" ? byCode(code) : bySentence(cause.message);
  if (row === null) return null;
  const [kind, what, hint] = row;
  const state = typeof code === "string" ? code : "";
  return { kind, what, state, ...(hint === undefined ? {} : { hint }) };
}

function byCode(code: string): Row | null {
  if (CERTIFICATE.test(code)) {
    return [
      "certificate",
      `is at a server whose certificate does not hold (${code}): either sslrootcert names the wrong authority, or somebody stands in between`,
      "Put the authority's certificate into the file that sslrootcert names; the certificate must be for the host in the address.",
    ];
  }
  if (SYSTEM.test(code)) return ["unavailable", `cannot be reached (${code})`, RESTARTS];
  if (!/^[0-9A-Z]{5}$/.test(code)) return null;
  return STATES[code] ?? STATES[code.slice(0, 2)] ?? null;
}

function bySentence(message: string): Row | null {
  return SENTENCES.find(([pattern]) => pattern.test(message))?.[1] ?? null;
}
