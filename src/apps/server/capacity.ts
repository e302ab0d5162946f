// How many connections this server can carry, and when it is short of something that the next one needs.

import type { Descriptors } from "../../io/system/descriptors.ts";

/** Descriptors for everything that is no connection of a device: database, log, repository, admin plane. */
const OWN = 128;
/** Of the rest, the part that connections may take; what is left opens the files that are being sent. */
const FOR_CONNECTIONS = 0.8;
/** Beyond this part of either, new connections should go elsewhere. */
const FULL = 0.9;

/** As many connections as were asked for, and no more than the descriptors allow: the one beyond them would stop the whole process from opening anything. */
export function connectionsWithin(wanted: number, descriptors: number | null): number {
  if (descriptors === null) return wanted;
  return Math.min(wanted, Math.max(1, Math.floor((descriptors - OWN) * FOR_CONNECTIONS)));
}

/** For `/readyz`: what there is too little of, or null. */
export function shortOf(connections: Descriptors, descriptors: Descriptors | null): string | null {
  if (descriptors !== null && descriptors.open >= descriptors.limit * FULL)
    return `${descriptors.open} of ${descriptors.limit} file descriptors are open: raise the limit of open files (LimitNOFILE=)`;
  if (connections.open >= connections.limit * FULL)
    return `${connections.open} of ${connections.limit} connections are open (--max-connections)`;
  return null;
}
