// Which of several servers speaks for the repository: one that has a newer state than any before it, or the same.

import type { FleetRecords } from "./store.ts";

/** TUF versions of a repository's state. A new root may start timestamps over. */
export type RepositoryState = { readonly root: number; readonly timestamp: number };

const SETTING = "repository-state";

/** False for a copy that lags behind what a server has announced already; else its state is noted as the newest. */
export async function leads(records: FleetRecords, state: RepositoryState): Promise<boolean> {
  const text = await records.setting(SETTING);
  const [root = 0, timestamp = 0] = (text ?? "").split(" ").map(Number);
  if (state.root < root || (state.root === root && state.timestamp < timestamp)) return false;
  if (state.root !== root || state.timestamp !== timestamp)
    await records.putSetting(SETTING, `${state.root} ${state.timestamp}`);
  return true;
}
