// Who may use a file on Windows, read from its security descriptor in text form: what the mode 0600 is elsewhere.

import { SERVICE_PROGRAMS, serviceName, serviceSid } from "./service-definition.ts";

const SYSTEM = "S-1-5-18";
const ADMINISTRATORS = "S-1-5-32-544";
/**
 * Short names of SIDs that matter here ([MS-DTYP] 2.5.1.1); any other short name is a stranger under that name.
 * LA is the built-in administrator, who cannot leave the group.
 */
const ALIASES: { readonly [alias: string]: string } = {
  SY: SYSTEM,
  BA: ADMINISTRATORS,
  LA: ADMINISTRATORS,
  LS: "S-1-5-19",
  NS: "S-1-5-20",
};
/** CREATOR OWNER and OWNER RIGHTS: whoever owns the thing. */
const THE_OWNER = new Set(["CO", "OW", "S-1-3-0", "S-1-3-4"]);

export type Access = {
  readonly owner: string;
  /** SIDs, each once, that some entry lets in. */
  readonly allowed: readonly string[];
};

/** For a service's data folder: system and administrators, and the service may read, write and delete; nothing comes from the folders above. */
export function folderSecurity(service: string): string {
  return `O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1301bf;;;${serviceSid(service)})`;
}

/** For what only `self` shall use, apart from system and administrators. */
export function ownSecurity(self: string, kind: "file" | "folder"): string {
  const further = kind === "folder" ? "OICI" : "";
  return `D:P${["SY", "BA", self].map((who) => `(A;${further};FA;;;${who})`).join("")}`;
}

/** Null when there is no access list (which lets everybody in), no owner, or something that is not understood: nobody may take it for private. */
export function accessOf(sddl: string): Access | null {
  const match = /^O:([A-Z]{2}|S-[\d-]+)(?:G:(?:[A-Z]{2}|S-[\d-]+))?D:([A-Z_]*)((?:\([^()]*\))*)$/.exec(sddl);
  if (match === null) return null;
  const [, owner = "", flags = "", list = ""] = match;
  // P protected, AI inherited, AR asked to inherit; NO_ACCESS_CONTROL is the list that is none.
  if (!/^(?:P|AI|AR)*$/.test(flags)) return null;
  const named = (who: string): string => ALIASES[who] ?? who;
  const allowed = new Set<string>();
  for (const [, entry = ""] of list.matchAll(/\(([^()]*)\)/g)) {
    const fields = entry.split(";");
    const [type, , , , , who = ""] = fields;
    if (fields.length !== 6 || who === "") return null;
    // What denies lets nobody in.
    if (type === "D") continue;
    // Entries with conditions, for objects, and whatever is new.
    if (type !== "A") return null;
    // An entry that is only inherited further counts too: it is about what will lie in this folder.
    if (!THE_OWNER.has(who)) allowed.add(named(who));
  }
  return { owner: named(owner), allowed: [...allowed] };
}

/** Who besides the system, administrators, and the service itself may use or own the data folder of a service. */
export function strangersInFolder(access: Access, service: string): readonly string[] {
  const known = new Set([SYSTEM, ADMINISTRATORS, serviceSid(service)]);
  return [...new Set([access.owner, ...access.allowed])].filter((sid) => !known.has(sid));
}

/**
 * Whether a file is what mode 0600 says elsewhere: used by its owner, by us (`self`), the system, administrators, and one service of ours
 * at most, for whose folder it was made. As with modes, nothing is said about who the owner is.
 */
export function isPrivate(access: Access, self: string): boolean {
  const ours = SERVICE_PROGRAMS.map((program) => serviceSid(serviceName(program)));
  const known = new Set([SYSTEM, ADMINISTRATORS, self, access.owner]);
  const others = access.allowed.filter((sid) => !known.has(sid));
  return others.length === 0 || (others.length === 1 && ours.includes(others[0]!) && !ours.includes(self));
}
