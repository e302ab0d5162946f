// The sockets that a release wants the agent to listen on for it, and how one version takes over from another.

import type { Feature } from "../core/features.ts";
import { z } from "../core/schema.ts";

/** As systemd names descriptors (sd_listen_fds_with_names(3)), in the narrower spelling of our names. */
const socketName = z
  .string()
  .check(z.regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, "expected a name such as http, of a-z, 0-9, ., _ and -"));

/** Where a socket is bound. `host` is null for every address of the machine. */
export type SocketPlace =
  | { readonly kind: "tcp"; readonly host: string | null; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** Longest path that the kernel takes (sockaddr_un in unix(7): 108 bytes with the final NUL). */
const LONGEST_PATH = 107;

/** `tcp:8080`, `tcp:127.0.0.1:8080`, `tcp:[::1]:8080`, `unix:/run/shop/http.sock`; null for anything else. */
export function parseSocketPlace(text: string): SocketPlace | null {
  const tcp = /^tcp:(?:(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]{2,45}\]):)?([1-9]\d{0,4})$/.exec(text);
  if (tcp !== null) {
    const port = Number(tcp[2]);
    const host = tcp[1]?.replace(/^\[|\]$/g, "") ?? null;
    const quads = host?.includes(":") === false ? host.split(".") : [];
    return port > 65_535 || quads.some((quad) => Number(quad) > 255 || String(Number(quad)) !== quad)
      ? null
      : { kind: "tcp", host, port };
  }
  const path = /^unix:(\/[A-Za-z0-9._/-]+)$/.exec(text)?.[1];
  if (path === undefined || path.length > LONGEST_PATH) return null;
  const parts = path.split("/").slice(1);
  return parts.some((part) => part === "" || part === "." || part === "..") ? null : { kind: "unix", path };
}

export const NO_PLACE = "expected tcp:PORT, tcp:ADDRESS:PORT or unix:/PATH";

/** A release may put a socket file below /run only: the agent makes it as root. An owner may choose any place. */
function isForReleases(text: string): boolean {
  const place = parseSocketPlace(text);
  return place !== null && (place.kind === "tcp" || place.path.startsWith("/run/"));
}

export const socketSchema = z.strictObject({
  name: socketName,
  address: z
    .string()
    .check(z.maxLength(120), z.refine(isForReleases, `${NO_PLACE}; a path of a release lies below /run/`)),
});
export type Socket = Readonly<z.infer<typeof socketSchema>>;

export const socketsSchema = z.array(socketSchema).check(
  z.minLength(1),
  z.maxLength(16),
  z.refine(
    (sockets) => new Set(sockets.map(({ name }) => name)).size === sockets.length,
    "a name appears twice",
  ),
);

/** That two versions of the product may run beside each other on the same data, and how the later one takes over. */
export const handOverSchema = z.strictObject({
  /** How long the version before has to answer what it has begun, after SIGTERM. */
  drainSeconds: z.number().check(z.int(), z.minimum(0), z.maximum(24 * 3600)),
  /** How it is seen that the new version serves: by its health probe, or first by its own word (`READY=1`, sd_notify(3)). */
  ready: z.enum(["probe", "notify"]),
});
export type HandOver = Readonly<z.infer<typeof handOverSchema>>;

/** The word that a release with sockets needs: an agent that does not know it would start the program without them. */
export const SOCKETS_FEATURE = "sockets" satisfies Feature;
