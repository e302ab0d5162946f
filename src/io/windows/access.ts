// Access lists of files on Windows: reads who may use one, and makes a service's folder to that service.

import { lstatSync } from "node:fs";
import { ProcessError } from "../../process/errors.ts";
import {
  accessOf,
  folderSecurity,
  isPrivate,
  ownSecurity,
  strangersInFolder,
  type Access,
} from "../../process/windows-access.ts";
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
 * Makes the folder and gives it to the service, which exists. A folder that is there is taken only if nobody else could have put anything in it:
 * everybody may make folders in C:\\ProgramData.
 * Errors: `process/service-refused`; `process/service-exposed` if others could use it before, or still may.
 */
export async function makeServiceFolder(path: string, service: string): Promise<void> {
  const api = await advapi();
  const strangersNow = (known: readonly string[]): readonly string[] => {
    const access = accessOf(securityText(api, path));
    if (access === null) return ["everybody"];
    return strangersInFolder(access, service).filter((sid) => !known.includes(sid));
  };
  const exposed = (what: string, strangers: readonly string[], hint: string): ProcessError =>
    new ProcessError(
      "process/service-exposed",
      `${what} ${path}: ${strangers.join(", ")}.`,
      { path, strangers },
      { hint },
    );
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) {
    // With its access list from the first instant.
    withDescriptor(api, folderSecurity(service), (descriptor) =>
      api.createFolder(
        native(path),
        api.koffi.as({ length: 24, descriptor, inherit: 0 }, api.koffi.pointer(api.types.attributes)),
      ),
    );
  } else {
    // A link would have its target given away.
    if (!there.isDirectory()) throw exposed("No folder is at", ["a link or file"], "Move it away.");
    const before = strangersNow([ownSid(api)]);
    if (before.length > 0)
      throw exposed(
        "Others could put files into",
        before,
        "Look at what is in it, move it away, and install again.",
      );
    setSecurity(api, path, folderSecurity(service));
  }
  const strangers = strangersNow([]);
  if (strangers.length > 0)
    throw exposed("Others may still use", strangers, "The volume must be one with access lists (NTFS).");
}

/** Whether it is private afterwards: as it lies there if its folder keeps others out, else by an access list of its own. */
export async function keepPrivate(path: string, kind: "file" | "folder"): Promise<boolean> {
  if (await isPrivateFile(path)) return true;
  try {
    const api = await advapi();
    // It is new and holds nothing yet: nothing has to be passed on.
    withDescriptor(api, ownSecurity(ownSid(api), kind), (descriptor) =>
      api.setFileSecurity(
        native(path),
        (WIN.DACL_SECURITY_INFORMATION | WIN.PROTECTED_DACL_SECURITY_INFORMATION) >>> 0,
        descriptor,
      ),
    );
  } catch (error) {
    if (error instanceof ProcessError) return false;
    throw error;
  }
  return isPrivateFile(path);
}

/** Of a folder with all in it that inherits; the owner is set if the text names one. Errors: `process/service-refused`. */
function setSecurity(api: Advapi, path: string, sddl: string): void {
  withDescriptor(api, sddl, (descriptor) => {
    const [dacl, owner, flags] = [new BigUint64Array(1), new BigUint64Array(1), new Uint32Array(2)];
    api.daclOf(descriptor, flags.subarray(0, 1), dacl, flags.subarray(1));
    api.ownerOf(descriptor, owner, flags.subarray(1));
    const what =
      (sddl.startsWith("O:") ? WIN.OWNER_SECURITY_INFORMATION : 0) |
      WIN.DACL_SECURITY_INFORMATION |
      WIN.PROTECTED_DACL_SECURITY_INFORMATION;
    const code = api.setNamedSecurity(
      native(path),
      WIN.SE_FILE_OBJECT,
      what >>> 0,
      owner[0],
      null,
      dacl[0],
      null,
    );
    if (code !== 0) throw api.refused(`a new access list of ${path}`, code);
  });
}

function withDescriptor(api: Advapi, sddl: string, act: (descriptor: bigint) => void): void {
  const descriptor = new BigUint64Array(1);
  api.parseSecurity(sddl, WIN.SDDL_REVISION_1, descriptor, null);
  try {
    act(descriptor[0]!);
  } finally {
    api.free(descriptor[0]);
  }
}

/** What the calls take that do not read `/`. */
function native(path: string): string {
  return path.replaceAll("/", "\\");
}

function securityText(api: Advapi, path: string): string {
  const [descriptor, text] = [new BigUint64Array(1), new BigUint64Array(1)];
  const what = WIN.OWNER_SECURITY_INFORMATION | WIN.DACL_SECURITY_INFORMATION;
  const code = api.getNamedSecurity(
    native(path),
    WIN.SE_FILE_OBJECT,
    what,
    null,
    null,
    null,
    null,
    descriptor,
  );
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
