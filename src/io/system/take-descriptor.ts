// Gets a second descriptor of a socket that another process holds: pidfd_getfd(2), for which Node has no call and Perl has one.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { keep, type Bound } from "./_bind.ts";

const PERL = "/usr/bin/perl";
const TIME = 5000;
/** Number of sendmsg(2); those of pidfd_open and pidfd_getfd are the same on every machine. */
const SENDMSG: { readonly [arch: string]: number } = { x64: 46, arm64: 211 };

/**
 * Duplicates the descriptor of the other process and sends it along the channel that Node reads messages from, as Node itself would
 * (cmsg(3), SCM_RIGHTS). Waits until its input is closed: by then the descriptor has arrived.
 */
const SCRIPT = String.raw`
my ($pid, $fd, $sendmsg) = map { $_ + 0 } @ARGV;
my $process = syscall(434, $pid, 0);
exit 2 if $process < 0;
my $copy = syscall(438, $process, $fd, 0);
exit 3 if $copy < 0;
my $line = qq({"cmd":"NODE_HANDLE","type":"net.Native","msg":"taken"}\n);
my $part = pack("PQ", $line, length $line);
my $rights = pack("Qllll", 20, 1, 1, $copy, 0);
my $message = pack("QLx4PQPQll", 0, 0, $part, 1, $rights, 24, 0, 0);
exit 4 if syscall($sendmsg, $ENV{NODE_CHANNEL_FD} + 0, $message, 0) < 0;
sysread(STDIN, my $end, 1);
`;

/** Null where this system has no Perl, or does not let us: it takes the right to trace the other process (ptrace(2)). */
export function takeDescriptor(pid: number, fd: number): Promise<Bound | null> {
  const sendmsg = SENDMSG[process.arch];
  if (process.platform !== "linux" || sendmsg === undefined || !existsSync(PERL))
    return Promise.resolve(null);
  return new Promise((resolve) => {
    const child = spawn(PERL, ["-e", SCRIPT, String(pid), String(fd), String(sendmsg)], {
      stdio: ["pipe", "ignore", "ignore", "ipc"],
      env: {},
      timeout: TIME,
    });
    const done = (bound: Bound | null): void => {
      resolve(bound);
      child.stdin?.destroy();
      if (child.connected) child.disconnect();
    };
    child.once("message", (_, handle: unknown) => {
      const got = handle as Parameters<typeof keep>[0] | undefined;
      done(got !== undefined && typeof got.fd === "number" && got.fd >= 0 ? keep(got) : null);
    });
    child.once("error", () => done(null));
    child.once("exit", () => done(null));
    child.stdin?.on("error", () => undefined);
  });
}
