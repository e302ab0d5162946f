// Hears a program say that it serves: in a file of its own, and over the socket that sd_notify(3) writes to.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, writeFile } from "node:fs/promises";
import type { ReadyPlace } from "../../process/ports.ts";

/** Node cannot open a datagram socket of the Unix family, which sd_notify takes; Perl can. */
const PERL = "/usr/bin/perl";
/** sockaddr_un in unix(7), without the final NUL. */
const LONGEST_PATH = 107;
const START_TIME = 3000;

/**
 * Writes into the file what it hears, so that it is known after the agent was killed as well. Ends when it has heard the word, and when the
 * program has ended whose number comes on its input; without one it ends at once.
 */
const SCRIPT = String.raw`
use Errno;
use Socket;
my ($path, $file) = @ARGV;
socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or exit 2;
bind($socket, pack_sockaddr_un($path)) or exit 3;
chmod 0622, $path;
$| = 1;
print "listening\n";
close STDOUT;
my $pid = <STDIN>;
exit 0 unless defined $pid && $pid =~ /^([0-9]+)$/;
my $program = $1;
my $waiting = "";
vec($waiting, fileno($socket), 1) = 1;
while (kill(0, $program) || $!{EPERM}) {
  next unless select(my $heard = $waiting, undef, undef, 2) > 0;
  next unless defined recv($socket, my $said, 8192, 0);
  next unless $said =~ /^READY=1$/m;
  open(my $out, ">>", $file) or exit 4;
  print $out "READY=1\n";
  close $out;
  last;
}
unlink $path;
`;

export type Heard = {
  readonly env: Readonly<Record<string, string>>;
  /** Whom it listens to; null when nothing was started. */
  readonly listenTo: (pid: number | null) => void;
};

/** The variables by which the program finds both. The names of the places are known to it and to the agent alone. */
export async function hearReadiness({ file, socket }: ReadyPlace): Promise<Heard> {
  await writeFile(file, "");
  // Who runs as another user may add to it and not read or replace it.
  await chmod(file, 0o622);
  const listenTo = await listen(socket, file);
  const env = { UPKEEP_READY: file };
  return listenTo === null
    ? { env, listenTo: () => {} }
    : { env: { ...env, NOTIFY_SOCKET: socket }, listenTo };
}

function listen(socket: string, file: string): Promise<Heard["listenTo"] | null> {
  if (process.platform !== "linux" || !existsSync(PERL) || Buffer.byteLength(socket) > LONGEST_PATH)
    return Promise.resolve(null);
  return new Promise((resolve) => {
    const child = spawn(PERL, ["-e", SCRIPT, socket, file], {
      stdio: ["pipe", "pipe", "ignore"],
      env: {},
      detached: true,
    });
    const timer = setTimeout(() => resolve(null), START_TIME);
    const done = (listenTo: Heard["listenTo"] | null): void => {
      clearTimeout(timer);
      resolve(listenTo);
    };
    child.stdout.once("data", () => {
      child.stdout.destroy();
      done((pid) => child.stdin.end(pid === null ? "" : `${pid}\n`));
    });
    child.stdin.on("error", () => undefined);
    child.once("error", () => done(null));
    child.once("exit", () => done(null));
    child.unref();
  });
}
