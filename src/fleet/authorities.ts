// Whose fleet a shared store holds: servers with other authorities would enrol devices that the first ones refuse.

import { FleetError } from "./errors.ts";
import type { FleetReads, FleetRecords } from "./store.ts";

/** SHA-256 of the keys of a fleet's first authorities: for the server, and for its devices. They stay what a fleet is known by when others follow. */
export type AuthorityKeys = { readonly server: string; readonly device: string };

const SETTING = "authorities";

/** Null before the first server has used the store. */
export async function claimedAuthorities(
  records: Pick<FleetReads, "setting">,
): Promise<AuthorityKeys | null> {
  const [server, device] = ((await records.setting(SETTING)) ?? "").split(" ");
  return server === undefined || device === undefined ? null : { server, device };
}

/** The first server's authorities become the fleet's. Error: `fleet/other-authorities` for a server with others. */
export async function claimAuthorities(records: FleetRecords, own: AuthorityKeys): Promise<void> {
  const claimed = await claimedAuthorities(records);
  if (claimed === null) return records.putSetting(SETTING, `${own.server} ${own.device}`);
  requireClaimed(claimed, own);
}

/** Error: `fleet/other-authorities` when a folder's first authorities are not the fleet's. */
export function requireClaimed(claimed: AuthorityKeys, own: AuthorityKeys): void {
  if (claimed.server === own.server && claimed.device === own.device) return;
  throw new FleetError(
    "fleet/other-authorities",
    "This store holds the fleet of servers with other authorities than this folder's: devices of theirs would not know this server.",
    { claimed, own },
    { hint: "Copy the folder server/tls of a server of this fleet into this data folder, and start again." },
  );
}
