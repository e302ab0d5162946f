// Hears what other processes commit to a database: a session that listens, comes back when it is lost, and then assumes the worst.

import type { PostgresSession } from "./postgres.ts";

/** Milliseconds between two questions whether the server is still there. */
const HEARTBEAT = 10_000;
const FIRST_WAIT = 100;
const LONGEST_WAIT = 2000;

export type PostgresWatch = {
  /** Changes with each notification of somebody else, and after each interruption. */
  changes(): number;
  connected(): boolean;
  close(): Promise<void>;
};

/**
 * Listens on `channel`; notifications with the payload `own` are this process's. Settles when it listens.
 * Errors: what `open` rejects with; later interruptions are not errors.
 */
export async function watchPostgres(
  open: () => Promise<PostgresSession>,
  channel: string,
  own: string,
  heartbeat = HEARTBEAT,
): Promise<PostgresWatch> {
  if (!/^[a-z_]+$/.test(channel)) throw new TypeError("not a name for a channel");
  let changes = 0;
  let session: PostgresSession | null = null;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  const listen = async (): Promise<void> => {
    const opened = await open();
    opened.onNotification((_channel, _processId, payload) => {
      if (payload !== own) changes++;
    });
    try {
      await opened.query(`listen ${channel}`);
    } catch (error) {
      void opened.close();
      throw error;
    }
    if (closed) return void opened.close();
    session = opened;
    beat(opened);
    opened.onEnd(() => lost(opened));
  };
  const lost = (which: PostgresSession): void => {
    if (session !== which) return;
    session = null;
    clearTimeout(timer);
    void which.close();
    if (!closed) again(FIRST_WAIT);
  };
  const again = (wait: number): void => {
    timer = setTimeout(() => {
      listen().then(
        // What was notified meanwhile was heard by nobody.
        () => void changes++,
        () => closed || again(Math.min(wait * 2, LONGEST_WAIT)),
      );
    }, wait).unref();
  };
  // A connection can be cut without either end being told.
  const beat = (which: PostgresSession): void => {
    timer = setTimeout(() => {
      which.query("select 1").then(
        () => session === which && beat(which),
        () => lost(which),
      );
    }, heartbeat).unref();
  };

  await listen();
  return {
    changes: () => changes,
    connected: () => session !== null,
    close: async () => {
      closed = true;
      clearTimeout(timer);
      const last = session;
      session = null;
      await last?.close();
    },
  };
}
