// The door to PostgreSQL: addresses, passwords, certificates, and what is said when something is wrong.

import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { generateKeyPairSync } from "node:crypto";
import { sql } from "kysely";
import { certificatePem } from "../../der/x509.ts";
import { createAuthority, issueServer } from "../../identity/authority.ts";
import { generateKey } from "../keys/key-store.ts";
import { localSigner } from "../../keys/signer.ts";
import { systemRandom } from "../system/random.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { parsePostgresAddress } from "./postgres-address.ts";
import { openPostgres, postgresTarget, PostgresAddressError, type OpenedPostgres } from "./postgres.ts";

let folder: string;
before(() => void (folder = mkdtempSync(join(tmpdir(), "upkeep-pgdoor-"))));
after(() => rmSync(folder, { recursive: true, force: true }));

class Refused extends Error {
  readonly kind: string;
  constructor(kind: string, message: string, cause: unknown) {
    super(message, { cause });
    this.kind = kind;
  }
}

function open(
  address: string,
  env: { readonly [name: string]: string } = {},
): OpenedPostgres<{ t: { n: number } }> {
  return openPostgres({
    ...postgresTarget(address, env),
    schema: "upkeep_test",
    name: "upkeep test",
    connections: 4,
    refuse: (problem, sentence, cause) => new Refused(problem.kind, sentence, cause),
  });
}

async function kindOf(address: string, env: { readonly [name: string]: string } = {}): Promise<unknown> {
  let opened;
  try {
    opened = open(address, env);
    await sql`select 1`.execute(opened.db);
    return "ok";
  } catch (error) {
    assert.ok(error instanceof Refused, String(error));
    return error.kind;
  } finally {
    await opened?.close();
  }
}

describe("the address of a PostgreSQL database", () => {
  for (const [text, tls, host] of [
    ["postgres://u@db.example/fleet", "verify-full", "db.example"],
    ["postgresql://u@db.example:6000/fleet?sslmode=verify-full", "verify-full", "db.example"],
    ["postgres://u@10.0.0.7/fleet", "verify-full", "10.0.0.7"],
    ["postgres://u@127.0.0.1/fleet", "off", "127.0.0.1"],
    ["postgres://u@[::1]/fleet", "off", "::1"],
    ["postgres://u@localhost/fleet?sslmode=verify-full&sslrootcert=/ca.pem", "verify-full", "localhost"],
    ["postgres://u@/fleet?host=/run/postgresql", "off", "/run/postgresql"],
  ] as const) {
    it(`${text} is reached with TLS ${tls}`, () => {
      const address = parsePostgresAddress(text);
      assert.ok(!("wrong" in address), JSON.stringify(address));
      assert.deepEqual(
        [address.tls, address.host, address.user, address.database],
        [tls, host, "u", "fleet"],
      );
    });
  }

  for (const [text, why] of [
    ["postgres://u:hunter2@db.example/fleet", /password/],
    ["postgres://u@db.example/fleet?password=hunter2", /password/],
    ["postgres://u@db.example/fleet?sslmode=require", /does not verify who the server is/],
    ["postgres://u@db.example/fleet?sslmode=prefer", /does not verify who the server is/],
    ["postgres://u@db.example/fleet?sslmode=no-verify", /does not verify who the server is/],
    ["postgres://u@db.example/fleet?sslmode=disable", /on this machine only/],
    ["postgres://u@127.0.0.1.example/fleet?sslmode=disable", /on this machine only/],
    ["postgres://u@db.example/fleet?ssl=0", /not known here: ssl/],
    ["postgres://u@db.example/fleet?sslmode=verify-full&sslmode=disable", /twice/],
    ["postgres://u@db.example/fleet?host=/run/postgresql", /unix socket/],
    ["postgres://u@/fleet?host=db.example", /unix socket/],
    ["postgres://u@/fleet", /no host/],
    ["postgres://db.example/fleet", /no user/],
    ["postgres://u@db.example/", /no database/],
    ["postgres://u@db.example/a/b", /no database/],
    ["postgres://u@db.example/fleet?sslcert=/a", /go together/],
    ["postgres://u@db.example/fleet?sslrootcert=ca.pem", /whole path/],
    ["postgres://u@db.example/fleet#x", /after #/],
    ["mysql://u@db.example/fleet", /postgres:\/\//],
    ["postgres://u@db.example:0/fleet", /port/],
  ] as const) {
    it(`is refused: ${text}`, () => {
      const address = parsePostgresAddress(text);
      assert.ok("wrong" in address);
      assert.match(address.wrong, why);
      assert.throws(
        () => postgresTarget(text, {}),
        (error: Error) => {
          assert.ok(error instanceof PostgresAddressError);
          return !error.message.includes("hunter2");
        },
      );
    });
  }
});

describe("a PostgreSQL password file", () => {
  const lookUp = (text: string, address: string, mode = 0o600): string | null => {
    const path = join(folder, "pgpass");
    writeFileSync(path, text);
    chmodSync(path, mode);
    return postgresTarget(address, { PGPASSFILE: path }).password();
  };

  it("gives the password of the first line that fits", () => {
    const text = "# a remark\nother:*:*:*:no\ndb.example:5432:fleet:u:one\\:two\\\\\n*:*:*:*:last\n";
    assert.equal(lookUp(text, "postgres://u@db.example/fleet"), "one:two\\");
    assert.equal(lookUp(text, "postgres://u@db.example:5433/fleet"), "last");
    assert.equal(lookUp("localhost:*:*:u:x", "postgres://u@/fleet?host=/run/postgresql"), "x");
    assert.equal(lookUp("other:*:*:*:no\nshort:line", "postgres://u@db.example/fleet"), null);
  });

  it("is refused when others may read it, and when it is named but not there", () => {
    assert.throws(() => lookUp("*:*:*:*:x", "postgres://u@db.example/fleet", 0o640), /chmod 600/);
    const { password } = postgresTarget("postgres://u@db.example/fleet", {
      PGPASSFILE: join(folder, "none"),
    });
    assert.throws(password, /ENOENT/);
  });

  it("in the home folder need not be there", () => {
    assert.equal(postgresTarget("postgres://u@db.example/fleet", { HOME: folder }).password(), null);
  });
});

describe("a server that is not PostgreSQL's", () => {
  it("is unavailable when nobody listens", async () => {
    assert.equal(await kindOf("postgres://u@127.0.0.1:1/fleet"), "unavailable");
    assert.equal(await kindOf(`postgres://u@/fleet?host=${folder}`), "unavailable");
  });

  it("is refused when it offers no TLS where TLS is asked (downgrade)", async () => {
    let heard = 0;
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (bytes) => {
        heard += bytes.length;
        socket.write("N");
      });
    });
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    assert.equal(
      await kindOf(`postgres://u@127.0.0.1:${port}/fleet?sslmode=verify-full`, { PGPASSWORD: "x" }),
      "certificate",
    );
    assert.equal(heard, 8, "nothing but the question for TLS was sent");
    server.close();
  });

  it("is given up when it takes the connection and says nothing", { timeout: 20_000 }, async () => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => void sockets.push(socket));
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    assert.equal(await kindOf(`postgres://u@127.0.0.1:${port}/fleet`, { PGPASSWORD: "x" }), "unavailable");
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  it("names the file of certificates that cannot be read", () => {
    assert.throws(() => open("postgres://u@127.0.0.1/fleet?sslmode=verify-full&sslrootcert=/none.pem"), {
      kind: "certificate",
    });
  });
});

describe("a PostgreSQL server with TLS", needsPostgres(), () => {
  let cluster: PostgresCluster;
  let place: string;
  const authority = join(tmpdir(), `upkeep-pg-ca-${process.pid}.pem`);
  const other = `${authority}.other`;
  before(async () => {
    const tools = { now: Date.now(), random: systemRandom };
    const make = (name: string) =>
      createAuthority({
        name,
        signer: localSigner(generateKey("ecdsa-sha2-nistp256"), "ecdsa-sha2-nistp256"),
        ...tools,
      });
    const ours = await make("ours");
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const certificate = await issueServer(ours, {
      names: ["localhost"],
      spki: new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
      ...tools,
    });
    writeFileSync(authority, certificatePem(ours.certificate));
    writeFileSync(other, certificatePem((await make("other")).certificate));
    const key = String(privateKey.export({ type: "pkcs8", format: "pem" }));
    cluster = await startPostgres({ tls: { certificate: certificatePem(certificate), key } });
    place = `${await cluster.createDatabase()}?sslmode=verify-full`;
  });
  after(async () => {
    await cluster?.remove();
    for (const file of [authority, other]) rmSync(file, { force: true });
  });
  const kind = (address: string) => kindOf(address, { PGPASSWORD: cluster.password });

  it("is believed by its name under the authority that is named", async () => {
    const named = `${place.replace("127.0.0.1", "localhost")}&sslrootcert=${authority}`;
    assert.equal(await kind(named), "ok");
    const opened = open(named, { PGPASSWORD: cluster.password });
    const { rows } = await sql<{
      ssl: boolean;
    }>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`.execute(opened.db);
    assert.deepEqual(rows, [{ ssl: true }]);
    await opened.close();
  });

  it("is refused under another name, another authority, and none", async () => {
    assert.equal(await kind(`${place}&sslrootcert=${authority}`), "certificate");
    const named = place.replace("127.0.0.1", "localhost");
    assert.equal(await kind(`${named}&sslrootcert=${other}`), "certificate");
    assert.equal(await kind(named), "certificate");
  });
});

describe("a PostgreSQL server", needsPostgres(), () => {
  let cluster: PostgresCluster;
  let address: string;
  before(async () => {
    cluster = await startPostgres();
    address = await cluster.createDatabase();
  });
  after(() => cluster?.remove());

  it("lets in who has the password, over TCP and its socket", async () => {
    const env = { PGPASSFILE: cluster.passwordFile };
    assert.equal(await kindOf(address, env), "ok");
    const name = new URL(address).pathname.slice(1);
    assert.equal(
      await kindOf(`postgres://upkeep@:${cluster.port}/${name}?host=${cluster.socket}`, env),
      "ok",
    );
  });

  it("refuses a wrong password, none, and an unknown user", async () => {
    assert.equal(await kindOf(address, { PGPASSWORD: "wrong" }), "denied");
    assert.equal(await kindOf(address), "denied");
    assert.equal(
      await kindOf(address.replace("upkeep@", "nobody@"), { PGPASSWORD: cluster.password }),
      "denied",
    );
  });

  it("has no such database", async () => {
    assert.equal(
      await kindOf(address.replace(/[^/]+$/, "none"), { PGPASSWORD: cluster.password }),
      "unavailable",
    );
  });

  it("without TLS is refused where TLS is asked (downgrade)", async () => {
    assert.equal(
      await kindOf(`${address}?sslmode=verify-full`, { PGPASSWORD: cluster.password }),
      "certificate",
    );
  });

  it("gives whole numbers as numbers, and none that a number does not hold", async () => {
    const opened = open(address, { PGPASSWORD: cluster.password });
    const one = await sql<{ n: unknown }>`select count(*) as n from (values (1), (2)) as t`.execute(
      opened.db,
    );
    assert.equal(one.rows[0]!.n, 2);
    await assert.rejects(sql`select 9007199254740993::bigint as n`.execute(opened.db), RangeError);
    await opened.close();
  });

  it("is used again after it went away, also when it went in the middle of a transaction", async () => {
    const opened = open(address, { PGPASSWORD: cluster.password });
    await assert.rejects(
      opened.db.transaction().execute(async (tx) => {
        await sql`select 1`.execute(tx);
        await cluster.stop("immediate");
        await sql`select 1`.execute(tx);
      }),
      { kind: "unavailable" },
    );
    await assert.rejects(sql`select 1`.execute(opened.db), { kind: "unavailable" });
    await cluster.start();
    await sql`select 1`.execute(opened.db);
    await opened.close();
  });

  it("tells a session what others notify, and that it ended", async () => {
    const opened = open(address, { PGPASSWORD: cluster.password });
    const session = await opened.session();
    await session.query("listen news");
    const heard = new Promise((resolve) =>
      session.onNotification((channel, processId, payload) => resolve([channel, typeof processId, payload])),
    );
    await sql`select pg_notify('news', 'x')`.execute(opened.db);
    assert.deepEqual(await heard, ["news", "number", "x"]);
    const ended = new Promise<void>((resolve) => session.onEnd(resolve));
    await sql`select pg_terminate_backend(${session.processId})`.execute(opened.db);
    await ended;
    await assert.rejects(session.query("select 1"), { kind: "unavailable" });
    await opened.close();
  });
});
