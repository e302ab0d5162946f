// Access lists of files on Windows: reads who may use one, and gives a service's folder to that service.

import { lstatSync, mkdirSync } from "node:fs";
import { ProcessError } from "../process/errors.ts";
import {
  accessOf,
  folderSecurity,
  isPrivate,
  strangersInFolder,
  type Access,
} from "../process/windows-access.ts";
import { advapi, WIN, type Advapi } from "./_advapi.ts";

/** Errors: `process/no-services`, `process/service-refused`. Null as in `accessOf`. */
export async function accessOfFile(path: string): Promise<Access | null> {
  return accessOf(securityText(await advapi(), path));
}

/** Whether others than its owner, us, the system and administrators are kept out. What cannot be told is not private. */
export async function isPrivateFile(path: string): Promise<boolean> {
  try {
    const access = await accessOfFile(path);
    return access !== null && isPrivate(access, ownSid(await advapi()));
  } catch (error) {
    if (error instanceof ProcessError) return false;
    throw error;
  }
}

/**
 * Makes the folder, or takes the one that is there, and gives it and all in it to the service, which exists.
 * Errors: `disk/*`, `process/service-refused`; `process/service-exposed` if afterwards others may still use it.
 */
export async function makeServiceFolder(path: string, service: string): Promise<void> {
  const api = await advapi();
  // A link would have its target given away.
  mkdirSync(path, { recursive: true });
  if (!lstatSync(path).isDirectory())
    throw new ProcessError("process/service-exposed", `${path} is no folder of its own.`, { path });
  const [descriptor, dacl, owner] = [new BigUint64Array(1), new BigUint64Array(1), new BigUint64Array(1)];
  const flags = new Uint32Array(2);
  api.parseSecurity(folderSecurity(service), WIN.SDDL_REVISION_1, descriptor, null);
  try {
    api.daclOf(descriptor[0], flags.subarray(0, 1), dacl, flags.subarray(1));
    api.ownerOf(descriptor[0], owner, flags.subarray(1));
    const what =
      WIN.OWNER_SECURITY_INFORMATION |
      WIN.DACL_SECURITY_INFORMATION |
      WIN.PROTECTED_DACL_SECURITY_INFORMATION;
    const code = api.setNamedSecurity(path, WIN.SE_FILE_OBJECT, what >>> 0, owner[0], null, dacl[0], null);
    if (code !== 0) throw api.refused(`to give ${path} to ${service}`, code);
  } finally {
    api.free(descriptor[0]);
  }
  const access = accessOf(securityText(api, path));
  const strangers = access === null ? ["everybody"] : strangersInFolder(access, service);
  if (strangers.length > 0)
    throw new ProcessError(
      "process/service-exposed",
      `Others may still use ${path}: ${strangers.join(", ")}.`,
      { path, strangers },
      { hint: "The volume must be NTFS, and the folder new or the service's own." },
    );
}

function securityText(api: Advapi, path: string): string {
  const [descriptor, text] = [new BigUint64Array(1), new BigUint64Array(1)];
  const what = WIN.OWNER_SECURITY_INFORMATION | WIN.DACL_SECURITY_INFORMATION;
  const code = api.getNamedSecurity(path, WIN.SE_FILE_OBJECT, what, null, null, null, null, descriptor);
  if (code !== 0) throw api.refused(`to say who may use ${path}`, code);
  try {
    api.formatSecurity(descriptor[0], WIN.SDDL_REVISION_1, what, text, null);
    return takeText(api, text[0]!);
  } finally {
    api.free(descriptor[0]);
  }
}

/** The SID of the user that this process runs as. */
function ownSid(api: Advapi): string {
  const [token, text] = [new BigUint64Array(1), new BigUint64Array(1)];
  api.openToken(api.thisProcess(), WIN.TOKEN_QUERY, token);
  try {
    // TOKEN_USER begins with the address of the SID, which lies in the same buffer.
    const buffer = new BigUint64Array(32);
    api.tokenInformation(token[0], WIN.TokenUser, buffer, buffer.byteLength, new Uint32Array(1));
    api.sidText(buffer[0], text);
    return takeText(api, text[0]!);
  } finally {
    api.closeKernelHandle(token[0]);
  }
}

function takeText(api: Advapi, address: bigint): string {
  try {
    return api.koffi.decode.string16(address);
  } finally {
    api.free(address);
  }
}
