// A PostgreSQL server of a test's own: in a folder of its own, on loopback, ended with the test.

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chownSync, globSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

/** Where Debian keeps the programs of the newest version that is installed. */
const BIN = globSync("/usr/lib/postgresql/*/bin")
  .filter((bin) => globSync(`${bin}/initdb`).length > 0)
  .sort((a, b) => versionOf(a) - versionOf(b))
  .at(-1);
const PATIENCE = 30_000;

/** For a test's options: why it cannot run here. */
export const needsPostgres = (): { skip?: string } =>
  BIN === undefined ? { skip: "not installed: postgresql" } : {};

export type PostgresCluster = {
  readonly port: number;
  /** For `PGPASSWORD`, of the user who owns the databases. */
  readonly password: string;
  /** A file for `PGPASSFILE`. */
  readonly passwordFile: string;
  /** An empty database and its address (over TCP), without password. */
  createDatabase(): Promise<string>;
  /** Of the folder of its socket, for `?host=`. */
  readonly socket: string;
  /** Runs SQL in a database of `createDatabase`, as its owner. */
  sql(address: string, text: string): Promise<readonly { readonly [column: string]: unknown }[]>;
  /** Ends the server: `fast` in order, `immediate` as a crash does. */
  stop(how: "fast" | "immediate"): Promise<void>;
  start(): Promise<void>;
  /** Stops it and forgets everything. */
  remove(): Promise<void>;
};

export type PostgresClusterOptions = {
  /** PEM texts: the server speaks TLS with them. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Lines of postgresql.conf. */
  readonly settings?: readonly string[];
};

/** One a test file: making it takes a second or two. Needs `needsPostgres()`. */
export async function startPostgres(options: PostgresClusterOptions = {}): Promise<PostgresCluster> {
  if (BIN === undefined) throw new Error("PostgreSQL is not installed");
  const folder = mkdtempSync(join(tmpdir(), "upkeep-pg-"));
  const data = join(folder, "data");
  const password = "not-so-secret: it's only a test";
  const passwordFile = join(folder, "pgpass");
  const first = join(folder, "first-password");
  writeFileSync(first, `${password}\n`, { mode: 0o600 });
  writeFileSync(passwordFile, `*:*:*:*:${password.replaceAll(":", "\\:")}\n`, { mode: 0o600 });
  const as = ownerOf(folder, first);
  run(
    as,
    "initdb",
    "-D",
    data,
    "-U",
    "upkeep",
    "--auth=scram-sha-256",
    `--pwfile=${first}`,
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
  );
  const settings = [
    "listen_addresses = '127.0.0.1'",
    `unix_socket_directories = '${folder}'`,
    "max_connections = 60",
    "shared_buffers = 16MB",
    ...(options.settings ?? []),
  ];
  if (options.tls !== undefined) {
    for (const [name, text] of [
      ["tls.crt", options.tls.certificate],
      ["tls.key", options.tls.key],
    ] as const) {
      writeFileSync(join(data, name), text, { mode: 0o600 });
      if (as !== null) chownSync(join(data, name), as.uid, as.gid);
    }
    settings.push("ssl = on", "ssl_cert_file = 'tls.crt'", "ssl_key_file = 'tls.key'");
  }
  writeFileSync(join(data, "postgresql.auto.conf"), `${settings.join("\n")}\n`);
  const port = await freePort();
  let child: ChildProcess | null = null;
  const start = async (): Promise<void> => {
    child = serve(as, data, port);
    const started = child;
    let log = "";
    started.stderr!.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-8000)));
    const until = Date.now() + PATIENCE;
    for (;;) {
      if (started.exitCode !== null || started.signalCode !== null)
        throw new Error(`PostgreSQL ended at its start:\n${log}`);
      try {
        await query(port, password, "postgres", "select 1");
        return;
      } catch (error) {
        if (Date.now() > until) throw new Error(`PostgreSQL did not start:\n${log}`, { cause: error });
        await sleep(50);
      }
    }
  };
  const stop = async (how: "fast" | "immediate"): Promise<void> => {
    const running = child;
    child = null;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => void running.once("exit", () => resolve()));
    // Signals of the main process, https://www.postgresql.org/docs/current/server-shutdown.html
    running.kill(how === "fast" ? "SIGINT" : "SIGQUIT");
    await ended;
  };
  await start();
  let made = 0;
  return {
    port,
    password,
    passwordFile,
    socket: folder,
    createDatabase: async () => {
      const name = `test_${++made}`;
      await query(port, password, "postgres", `create database ${name}`);
      return `postgres://upkeep@127.0.0.1:${port}/${name}`;
    },
    sql: (address, text) => query(port, password, new URL(address).pathname.slice(1), text),
    stop,
    start,
    remove: async () => {
      await stop("immediate");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

type Owner = { readonly uid: number; readonly gid: number } | null;

/** PostgreSQL refuses to run as root: Debian's package brings a user for it. */
function ownerOf(folder: string, ...files: readonly string[]): Owner {
  if (process.getuid?.() !== 0) return null;
  const id = (flag: string): number =>
    Number(spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout);
  const owner = { uid: id("-u"), gid: id("-g") };
  for (const path of [folder, ...files]) chownSync(path, owner.uid, owner.gid);
  return owner;
}

function run(as: Owner, program: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(join(BIN!, program), args, {
    ...as,
    encoding: "utf8",
    timeout: PATIENCE,
    env: { PATH: process.env["PATH"], LC_ALL: "C" },
    cwd: "/",
  });
  if (status !== 0) throw new Error(`${program} failed:\n${stderr}`);
}

/** Ends with its parent, however that ends: nothing is left behind by a test that was killed. */
function serve(as: Owner, data: string, port: number): ChildProcess {
  const who = as === null ? [] : ["--reuid", String(as.uid), "--regid", String(as.gid), "--clear-groups"];
  return spawn(
    "setpriv",
    [...who, "--pdeathsig", "QUIT", join(BIN!, "postgres"), "-D", data, "-p", String(port)],
    {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env["PATH"], LC_ALL: "C" },
      cwd: "/",
    },
  );
}

async function query(
  port: number,
  password: string,
  database: string,
  text: string,
): Promise<readonly { readonly [column: string]: unknown }[]> {
  const client = new pg.Client({
    host: "127.0.0.1",
    port,
    user: "upkeep",
    password,
    database,
    connectionTimeoutMillis: 5000,
  });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const result = await client.query<{ [column: string]: unknown }>(text);
    // Several statements at once have several results.
    return ([result].flat().at(-1)?.rows ?? []) as { [column: string]: unknown }[];
  } finally {
    await client.end().catch(() => undefined);
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

function versionOf(bin: string): number {
  return Number(/\/(\d+)\/bin$/.exec(bin)?.[1] ?? 0);
}
