// The tables of a signer's log in PostgreSQL, in numbered steps.

import { SigningError } from "../../signing/errors.ts";
import type { PostgresSession } from "../database/postgres.ts";

/** Of this database only; what else lives there is no business of ours. */
export const SCHEMA = "upkeep_signer";

/** A step never changes once it was released; what is new is a further step. */
const STEPS: readonly string[] = [
  `create table writer (
     signer text collate "C" primary key,
     epoch bigint not null,
     holder text not null,
     since timestamptz not null default now());
   create table file (
     id bigint generated always as identity primary key,
     path text collate "C" not null unique,
     folder text collate "C" not null,
     directory boolean not null,
     mode integer not null);
   create index file_folder on file (folder);
   create table chunk (
     file bigint not null references file on delete cascade,
     at bigint not null,
     bytes bytea not null,
     primary key (file, at));
   alter table chunk alter column bytes set storage external;`,
];

/** Any number that is only this. */
const MIGRATING = 7_163_220_411;

/** Errors: `signing/store-refused` for a schema of a newer version, or one that is not ours; without `make` also where there is none. */
export async function prepareSchema(session: PostgresSession, make: boolean): Promise<void> {
  const [there] = await session.query(
    `select to_regnamespace($1) is not null as schema, to_regclass($1 || '.step') is not null as step,
       exists (select 1 from pg_class where relnamespace = to_regnamespace($1)) as used`,
    [SCHEMA],
  );
  // An empty one may have been made for us by who gives no right to make one.
  const [schema, step] = [there?.["schema"] === true, there?.["step"] === true];
  if (!step && there?.["used"] === true)
    throw refused(`The schema ${SCHEMA} of the database is not that of a signer's log.`);
  if (!step && !make)
    throw refused(
      "There is no signer's log in the database.",
      "A signer makes its tables at its first start; is this the right database?",
    );
  if (step && (await stepOf(session)) === STEPS.length) return;
  if (!make) return;
  await session.query("begin");
  try {
    await session.query("select pg_advisory_xact_lock($1)", [MIGRATING]);
    if (!schema) await session.query(`create schema if not exists ${SCHEMA}`);
    await session.query("create table if not exists step (number integer primary key)");
    for (let step = await stepOf(session); step < STEPS.length; step++) {
      await session.query(STEPS[step]!);
      await session.query("insert into step values ($1)", [step + 1]);
    }
    await session.query("commit");
  } catch (error) {
    await session.query("rollback").catch(() => undefined);
    throw error;
  }
}

async function stepOf(session: PostgresSession): Promise<number> {
  const [row] = await session.query("select coalesce(max(number), 0) as step from step");
  const step = Number(row?.["step"]);
  if (step <= STEPS.length) return step;
  throw refused(
    `The database was written by a newer version of this program (step ${step}, this one knows ${STEPS.length}).`,
    "Update this program; nothing was changed.",
  );
}

export function refused(sentence: string, hint?: string, cause?: unknown): SigningError {
  return new SigningError(
    "signing/store-refused",
    sentence,
    {},
    { cause, ...(hint === undefined ? {} : { hint }) },
  );
}
