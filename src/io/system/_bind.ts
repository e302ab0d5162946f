// Binds a socket without listening on it: the program that inherits it listens. Node has no public call for that.

import { getSystemErrorName } from "node:util";

/** A bound socket. As long as this process has it open, connections that wait in its queue are not lost. */
export type Bound = { readonly fd: number; readonly close: () => void };

/** Of Node's own wrapping of libuv's handles; `process.binding` is deprecated by documentation only. */
type Handle = {
  readonly fd: number;
  close(): void;
  bind(address: string, port?: number, flags?: number): number;
  bind6(address: string, port: number, flags: number): number;
  getsockname(out: { port?: number }): number;
};
type Wrap<Name extends string> = { readonly [N in Name]: new (type: number) => Handle } & {
  readonly constants: { readonly SERVER: number; readonly UV_TCP_REUSEPORT?: number };
};

function binding<Name extends string>(name: string): Wrap<Name> | null {
  const load = (process as unknown as { binding?: (name: string) => Wrap<Name> }).binding;
  try {
    return load?.call(process, name) ?? null;
  } catch {
    return null;
  }
}

/** `host` null: every address, of version 6 and 4 where the machine has both. The error's name if it cannot be bound. */
export function bindTcp(host: string | null, port: number): Bound | string {
  const tcp = binding<"TCP">("tcp_wrap");
  if (tcp === null) return "ENOSYS";
  if (host !== null) return bindOne(tcp, host, port);
  const both = bindOne(tcp, "::", port);
  return both === "EAFNOSUPPORT" || both === "EADDRNOTAVAIL" ? bindOne(tcp, "0.0.0.0", port) : both;
}

function bindOne({ TCP, constants }: Wrap<"TCP">, host: string, port: number): Bound | string {
  const handle = new TCP(constants.SERVER);
  // So that an agent which cannot take the socket back from a running program can put a second one beside it.
  const flags = constants.UV_TCP_REUSEPORT ?? 0;
  const error = host.includes(":") ? handle.bind6(host, port, flags) : handle.bind(host, port, flags);
  // libuv keeps EADDRINUSE for itself until somebody listens: then the socket has no port.
  const name: { port?: number } = {};
  const bound = error === 0 && handle.getsockname(name) === 0 && name.port === port;
  if (bound) return keep(handle);
  handle.close();
  return error === 0 ? "EADDRINUSE" : getSystemErrorName(error);
}

export function bindUnix(path: string): Bound | string {
  const pipe = binding<"Pipe">("pipe_wrap");
  if (pipe === null) return "ENOSYS";
  const handle = new pipe.Pipe(pipe.constants.SERVER);
  const error = handle.bind(path);
  if (error === 0) return keep(handle);
  handle.close();
  return getSystemErrorName(error);
}

/** A handle that came with a message from a child. */
export function keep(handle: Pick<Handle, "fd" | "close">): Bound {
  return { fd: handle.fd, close: () => handle.close() };
}
