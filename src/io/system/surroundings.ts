// What this machine says of itself, for the decision when an update is activated: load, input, power, link, and the clock that nobody sets.

import { readdir, readFile, stat } from "node:fs/promises";
import { availableParallelism, loadavg, uptime } from "node:os";
import type { HookAnswer, MeteredBy, Surroundings } from "../../manners/ports.ts";
import { bootId, processFacts } from "./proc.ts";
import { systemProbes } from "./probes.ts";

export const systemSurroundings: Surroundings = {
  uptime: async () => ({ boot: await bootId(), ms: await bootTime() }),
  zone: () => new Intl.DateTimeFormat().resolvedOptions().timeZone,
  facts: async () => ({
    // Windows knows no load average, and says 0.
    load: process.platform === "win32" ? null : (loadavg()[0]! / availableParallelism()) * 100,
    idleSeconds: await idleSeconds("/dev"),
    battery: await batteryLeft("/sys/class/power_supply"),
  }),
  metered: (by) => metered(by),
  run: async ({ command: [program, ...args], env, timeoutMs }): Promise<HookAnswer> => {
    const passed = Object.fromEntries(
      PASSED_ON.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
    );
    const spec = { program: program!, args, cwd: "/", env: { ...passed, ...env } };
    const answer = await systemProbes.command(spec, timeoutMs);
    if (answer.kind === "exit") return { kind: "exit", code: answer.exit.code, output: answer.output };
    return answer.kind === "timeout" ? { kind: "timeout" } : answer;
  },
  lives: async ({ pid, startTime }) => {
    const facts = await processFacts(pid);
    return facts !== null && facts.startTime === startTime && facts.state !== "Z" && facts.state !== "X";
  },
};

/** What an executable of the owner finds of the agent's own environment: a desktop helper needs its session. */
const PASSED_ON = [
  "PATH",
  "HOME",
  "LANG",
  "TZ",
  "USER",
  "DISPLAY",
  "WAYLAND_DISPLAY",
  "XDG_RUNTIME_DIR",
  "DBUS_SESSION_BUS_ADDRESS",
];

/** Milliseconds of processor time that this process has used, in all its threads (getrusage(2)). */
export function usedCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** proc(5): seconds since the boot, time asleep included (CLOCK_BOOTTIME). */
async function bootTime(): Promise<number> {
  const text = await readOrNull("/proc/uptime");
  const seconds = Number(text?.split(" ")[0] ?? Number.NaN);
  return Math.round((Number.isFinite(seconds) ? seconds : uptime()) * 1000);
}

async function readOrNull(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return null;
  }
}

/** A terminal's access time is that of the last key (tty_io.c updates it each eight seconds at most). Null without terminals. */
export async function idleSeconds(dev: string): Promise<number | null> {
  const names = [
    ...(await readdir(dev).catch(() => [])).filter((name) => /^tty[1-9]\d?$/.test(name)),
    ...(await readdir(`${dev}/pts`).catch(() => []))
      .filter((name) => /^\d+$/.test(name))
      .map((name) => `pts/${name}`),
  ];
  let last: number | null = null;
  for (const name of names) {
    try {
      const { atimeMs } = await stat(`${dev}/${name}`);
      last = Math.max(last ?? 0, atimeMs);
    } catch {
      // It went away meanwhile.
    }
  }
  return last === null ? null : Math.max(0, (Date.now() - last) / 1000);
}

/** sysfs-class-power: the least of the batteries that are discharged; null on mains or without a battery. */
export async function batteryLeft(folder: string): Promise<number | null> {
  let least: number | null = null;
  for (const name of await readdir(folder).catch(() => [])) {
    const of = async (file: string): Promise<string> =>
      ((await readOrNull(`${folder}/${name}/${file}`)) ?? "").trim();
    const type = await of("type");
    if ((type === "Mains" || type === "USB") && (await of("online")) === "1") return null;
    // A mouse has a battery, too.
    if (type !== "Battery" || (await of("scope")) === "Device" || (await of("status")) !== "Discharging")
      continue;
    const left = Number((await of("capacity")) || Number.NaN);
    if (Number.isFinite(left)) least = Math.min(least ?? 100, left);
  }
  return least;
}

async function metered(by: MeteredBy): Promise<boolean | null> {
  if (by === "always") return true;
  if (by === "never") return false;
  if (by !== "system") {
    const used = await defaultInterfaces(
      await readOrNull("/proc/net/route"),
      await readOrNull("/proc/net/ipv6_route"),
    );
    return used.length === 0 ? null : used.some((name) => by.includes(name));
  }
  const answer = await systemSurroundings.run({
    command: ["/usr/bin/busctl", ...ASK_NETWORK_MANAGER],
    env: {},
    timeoutMs: 2000,
  });
  return answer.kind === "exit" && answer.code === 0 ? meteredWord(answer.output) : null;
}

const ASK_NETWORK_MANAGER = [
  "get-property",
  "org.freedesktop.NetworkManager",
  "/org/freedesktop/NetworkManager",
  "org.freedesktop.NetworkManager",
  "Metered",
];

/** NMMetered: 1 yes, 2 no, 3 and 4 the same as a guess, 0 unknown. */
export function meteredWord(output: string): boolean | null {
  const value = /^u ([0-4])$/.exec(output.trim())?.[1];
  if (value === "1" || value === "3") return true;
  return value === "2" || value === "4" ? false : null;
}

/** Interfaces with a default route: column 2 is the destination (IPv4); an IPv6 line begins with destination and prefix, and ends with the name. */
export function defaultInterfaces(ipv4: string | null, ipv6: string | null): readonly string[] {
  const names = new Set<string>();
  for (const line of (ipv4 ?? "").split("\n").slice(1)) {
    const [name, destination, , flags] = line.split("\t");
    if (destination === "00000000" && (Number.parseInt(flags ?? "0", 16) & 1) === 1) names.add(name!.trim());
  }
  for (const line of (ipv6 ?? "").split("\n")) {
    const fields = line.trim().split(/\s+/);
    const name = fields.at(-1) ?? "";
    if (/^0{32}$/.test(fields[0] ?? "") && fields[1] === "00" && name !== "lo" && name !== "")
      names.add(name);
  }
  return [...names];
}
