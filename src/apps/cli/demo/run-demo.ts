// The story of the demo, told by the real programs: each line says what was done and what it proved.

import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fromBase64 } from "../../../core/bytes.ts";
import { statOrNull } from "../../../core/disk.ts";
import { parseJson, parseJsonText, type Json, type JsonObject } from "../../../core/json.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns } from "../../framework/style.ts";
import { DemoError, freePort, Stage, type Program } from "./stage.ts";
import { askHello, writeHello } from "./service.ts";
import { nativePair } from "./native-pair.ts";

export async function runDemo(call: Call): Promise<Result> {
  const { context } = call;
  const keep = call.flag("keep");
  const wanted = call.text("folder");
  const folder = wanted === undefined ? mkdtempSync(join(tmpdir(), "upkeep-demo-")) : resolve(wanted);
  if (wanted !== undefined) {
    if ((await statOrNull(context.disk, folder)) !== null) {
      throw usage(
        `${folder} exists already.`,
        "The demo makes its folder itself; name one that is not there.",
      );
    }
    mkdirSync(folder, { mode: 0o700 });
  }
  const stage = new Stage(folder, context.signal);
  const story = new Story(call);
  let left: readonly Program[] = [];
  let failed = true;
  try {
    const shown = await tell(stage, story);
    failed = false;
    if (keep) left = stage.leaveRunning();
    return {
      text: closing(shown, story.seconds(), folder, left),
      json: { ...shown, folder, kept: keep, pids: left.map(({ name, pid }) => ({ name, pid })) },
    };
  } finally {
    await stage.stopAll();
    if (failed) context.note(`What server and agent said is in ${folder}.`);
    else if (left.length === 0 && wanted === undefined) rmSync(folder, { recursive: true, force: true });
  }
}

type Shown = { readonly address: string; readonly service: string; readonly reports: readonly JsonObject[] };

async function tell(stage: Stage, story: Story): Promise<Shown> {
  const { folder } = stage;
  const [operator, device] = [join(folder, "operator"), join(folder, "device")];
  mkdirSync(operator, { mode: 0o700 });
  mkdirSync(device, { mode: 0o700 });
  const port = await freePort();

  story.begin("A repository, from keys to metadata");
  const made = await stage.command(operator, ["repo", "init"]);
  story.done("root of 3 keys, 2 must sign; targets key; online key for snapshot and timestamp");
  await stage.command(operator, ["verify", join(operator, "repository")]);
  story.proved(
    `a fresh client follows it; its identity is the first root's SHA-256 ${String(made["repository"]).slice(0, 16)}…`,
  );

  story.begin("A server, on loopback, TLS 1.3 both ways");
  const server = stage.start("server", operator, [
    "server",
    "--listen",
    "127.0.0.1:0",
    "--name",
    "127.0.0.1",
    "--admin",
    "off",
  ]);
  const address = await stage.until("the server says where it listens", 30, () => listening(server));
  story.done(`${address}, process ${server.pid}`);

  story.begin("A device enrolls with a one-time token");
  const token = await stage.command(operator, ["token", "new"]);
  const tokenFile = join(folder, "token");
  writeFileSync(tokenFile, `${String(token["token"])}\n`, { mode: 0o600 });
  const enrolled = await stage.command(device, [
    "agent",
    "enroll",
    "--server",
    address,
    "--token-file",
    tokenFile,
  ]);
  story.done(`device ${String(enrolled["device"])}: made its own key, got a certificate for it`);
  story.proved(
    "the token pins the server's authority and the first root; both were checked before its secret was sent",
  );

  const release = async (version: string, crashes: boolean): Promise<void> => {
    const source = join(folder, `hello-${version}`);
    writeHello(source, version, crashes);
    await stage.command(operator, [
      ...words("release add hello"),
      version,
      source,
      ...words(
        `--promote --run bin/hello --env PORT=${port} --health http:/health --probation 2 --start-grace 5`,
      ),
    ]);
  };
  const runs = (version: string, seconds = 60) =>
    stage.until(`hello ${version} answers`, seconds, async () =>
      (await askHello(port)) === `hello from ${version}` ? version : null,
    );
  const reports = async (): Promise<readonly JsonObject[]> =>
    [
      ...((await stage.command(operator, ["report", "list"]))["reports"] as readonly JsonObject[]),
    ].toReversed();
  const reported = (product: string, to: string, outcome: string) =>
    stage.until(
      `the report on ${product} ${to}`,
      60,
      async () => (await reports()).find((r) => isAbout(r, product, to, outcome)) ?? null,
    );

  story.begin("hello 1.0.0: first install");
  await release("1.0.0", false);
  await stage.command(operator, ["fleet", "assign", "default", "hello", "stable"]);
  stage.start("agent", device, ["agent", "run"]);
  await runs("1.0.0");
  story.done(`http://127.0.0.1:${port}/ says "hello from 1.0.0"`);
  await reported("hello", "1.0.0", "success");
  story.proved(
    "TUF metadata, the signed assignment, the release's own signature and the artifact's two digests agreed before anything ran",
  );

  story.begin("hello 1.1.0: published; the agent updates by itself on a wake-up");
  const from = performance.now();
  await release("1.1.0", false);
  await runs("1.1.0");
  story.done(
    `"hello from 1.1.0" ${((performance.now() - from) / 1000).toFixed(1)} s after "release add" was typed; nobody touched the device`,
  );
  const success = await reported("hello", "1.1.0", "success");
  story.proved(`it came through its probation before success was reported (${facts(success)})`);

  story.begin("hello 1.2.0: a bad release, which falls over after a second");
  await release("1.2.0", true);
  const back = await reported("hello", "1.2.0", "rolled-back");
  await runs("1.1.0");
  story.done(`rolled back: ${String(back["reason"] ?? back["code"])}`);
  story.proved(`"hello from 1.1.0" again; 1.2.0 is on the skip list of this device (${facts(back)})`);

  story.begin("hello 1.2.1: the repaired release arrives");
  await release("1.2.1", false);
  await runs("1.2.1");
  await reported("hello", "1.2.1", "success");
  story.done('"hello from 1.2.1"');
  story.proved("after a failed release the next one installs as usual");

  await thirdParty(stage, story, operator, device, reported);

  story.begin("The trail of signed reports");
  const trail = await reports();
  const rows = trail
    .filter((r) => r["kind"] === "attempt")
    .map((r) => [
      text(r["product"]),
      `${text(r["from"])} -> ${text(r["to"])}`,
      text(r["outcome"]),
      text(r["code"]),
      text(r["step"]),
    ]);
  for (const line of columns([["PRODUCT", "ATTEMPT", "OUTCOME", "CODE", "STEP"], ...rows]).split("\n"))
    story.line(`   ${line}`);
  const audit = await stage.command(operator, ["fleet", "audit"]);
  story.proved(
    `each is signed by the device's key and names the one before it; the server's audit log holds together (${text(audit["count"])} rows)`,
  );
  return { address, service: `http://127.0.0.1:${port}/`, reports: trail };
}

/** The same with a program that others built: two consecutive published builds of a native compiler. */
async function thirdParty(
  stage: Stage,
  story: Story,
  operator: string,
  device: string,
  reported: (product: string, to: string, outcome: string) => Promise<JsonObject>,
): Promise<void> {
  const pair = nativePair();
  if (pair === null) {
    story.begin("A native program by another publisher");
    story.done(
      "not shown: the two esbuild builds are packaged for Linux on x64, and this is another platform",
    );
    return;
  }
  for (const [place, build] of pair.entries()) {
    story.begin(
      `esbuild ${build.version}: a native program by another publisher, ${(statSync(build.file).size / 2 ** 20).toFixed(1)} MiB, as published`,
    );
    // Assigned first, so that the one wake-up that matters is that of the publication.
    if (place === 0) await stage.command(operator, ["fleet", "assign", "default", "esbuild", "stable"]);
    await stage.command(operator, [
      ...words("release add esbuild"),
      build.version,
      `linux-x64=${build.file}`,
      ...words("--promote --health exit-code --probation 1 --run"),
      "esbuild --version",
    ]);
    const report = await reported("esbuild", build.version, "success");
    const said = await installedVersion(join(device, "components/esbuild/current/esbuild"));
    if (said !== build.version)
      throw new DemoError(
        "demo/not-shown",
        `The installed esbuild says it is ${said}, not ${build.version}.`,
      );
    story.done(`installed; asked for its version, the installed file says ${said}`);
    story.proved(`the probe "esbuild --version" ended well before it was committed (${facts(report)})`);
  }
}

async function installedVersion(program: string): Promise<string> {
  const { execFile } = await import("node:child_process");
  return new Promise((done, fail) => {
    execFile(program, ["--version"], { timeout: 10_000 }, (error, out) =>
      error === null ? done(out.trim()) : fail(error),
    );
  });
}

function listening(server: Program): string | null {
  for (const line of server.said().split("\n")) {
    if (!line.includes('"server/started"')) continue;
    const { host, port } = JSON.parse(line) as { host: string; port: number };
    return `https://${host}:${port}`;
  }
  return null;
}

function isAbout(report: JsonObject, product: string, to: string, outcome: string): boolean {
  return (
    report["kind"] === "attempt" &&
    report["product"] === product &&
    report["to"] === to &&
    report["outcome"] === outcome
  );
}

/** From the very document the device signed. */
function facts(stored: JsonObject): string {
  const envelope = parseJsonText(String(stored["envelope"])) as JsonObject;
  const report = parseJson(fromBase64(String(envelope["payload"]))) as JsonObject;
  return `report ${text(report["sequence"])}: ${text(report["outcome"])}, ${text(report["bytes"])} bytes, ${text(report["duration"])} ms`;
}

/** For words that hold no spaces themselves. */
function words(line: string): readonly string[] {
  return line.split(" ");
}

function text(value: Json | undefined): string {
  return value === undefined || value === null ? "-" : String(value);
}

function closing(shown: Shown, seconds: number, folder: string, left: readonly Program[]): string {
  const lines = [
    "",
    `Shown in ${seconds} s: key, release, repository, server, agent, slot, process, probation, report.`,
  ];
  if (left.length > 0) {
    lines.push(
      "",
      `server   ${shown.address}`,
      `service  ${shown.service}`,
      `folder   ${folder}`,
      ...left.map(({ name, pid }) => `${name.padEnd(8)} process ${pid}`),
      "",
      `look:    upkeep --data ${folder}/operator device list`,
      `         upkeep --data ${folder}/device agent status`,
      `stop:    kill ${left
        .map(({ pid }) => pid)
        .toReversed()
        .join(" ")}`,
    );
  }
  return lines.join("\n");
}

/** Lines for people on stdout as they happen; silent with --json. */
class Story {
  readonly #call: Call;
  readonly #from = performance.now();
  #chapter = 0;

  constructor(call: Call) {
    this.#call = call;
  }

  begin(what: string): void {
    this.#chapter++;
    this.line("");
    this.line(
      `${this.#call.context.style.strong(`${this.#chapter}. ${what}`)} ${this.#call.context.style.faint(`${this.seconds()} s`)}`,
    );
  }

  done(what: string): void {
    this.line(`   ${what}`);
  }

  proved(what: string): void {
    this.line(`   ${this.#call.context.style.good("✓ proved:")} ${what}`);
  }

  line(text: string): void {
    const { context } = this.#call;
    if (!context.json && !context.quiet) context.terminal.stdout.write(`${text}\n`);
  }

  seconds(): number {
    return Math.round((performance.now() - this.#from) / 1000);
  }
}
