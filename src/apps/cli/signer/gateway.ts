// What the verbs of `gateway` do.

import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { collect, fromUtf8, toUtf8 } from "../../../core/bytes.ts";
import { exists, makePrivateDirectory, writeAtomic } from "../../../core/disk.ts";
import { SigningError } from "../../../signing/errors.ts";
import { appendTable } from "../../../signing/policy/config-text.ts";
import { parseGatewayConfig } from "../../../signing/wire/gateway-config.ts";
import { MAX_COUNTERS, parseCounters, type Counters } from "../../../signing/wire/gateway-metrics.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { identitySpki, readIdentity } from "../service/inputs.ts";
import { columns } from "../../framework/style.ts";

const STATUS_TIMEOUT = 5000;

export async function gatewayInit(call: Call): Promise<Result> {
  const { disk, data } = call.context;
  const folder = `${data}/gateway`;
  // Any trace of a gateway is a gateway: signers and clients know its key.
  if ((await exists(disk, folder)) && (await disk.list(folder)).length > 0) {
    throw new SigningError(
      "signing/exists",
      `There is a gateway in ${folder} already, or what is left of one.`,
      { folder },
      { hint: "Restore what it has lost from a backup; a new one needs another folder (--data)." },
    );
  }
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const spki = identitySpki(publicKey);
  const signers = call.list("signer").map(parseSigner);
  const text = `# Configuration of the gateway; see docs/operate/signer-toml.md.
version = 1

[listen]
clients = "${call.needed("clients")}"
signers = "${call.needed("signers")}"
${signers.map(({ name, spki }) => `\n[signers.${name}]\nspki = "${spki}"\n`).join("")}${signers.length === 0 ? "\n[signers]\n" : ""}`;
  const { listen } = parseGatewayConfig(text, "gateway.toml");
  // Nothing is written before all of it is known to be right.
  await makePrivateDirectory(disk, folder);
  await writeAtomic(
    disk,
    `${folder}/identity.pem`,
    toUtf8(String(privateKey.export({ type: "pkcs8", format: "pem" }))),
    0o600,
  );
  await writeAtomic(disk, `${folder}/gateway.toml`, toUtf8(text), 0o600);
  const near = [listen.clients, listen.signers].every((address) =>
    /^(127\.|\[::1\]|localhost:)/.test(address),
  );
  const lines = [
    `gateway in ${folder}`,
    `identity ${spki}`,
    `clients connect to ${listen.clients}, signers to ${listen.signers}`,
    ...(near
      ? [
          `It listens to this machine only; for others name an address under [listen] in ${folder}/gateway.toml.`,
        ]
      : []),
  ];
  return { text: lines.join("\n"), json: { folder, spki, listen } };
}

export async function gatewayShow(call: Call): Promise<Result> {
  const { disk, data } = call.context;
  const folder = `${data}/gateway`;
  const path = `${folder}/gateway.toml`;
  if (!(await exists(disk, path))) {
    throw new SigningError(
      "signing/not-found",
      `There is no gateway in ${folder}.`,
      { folder },
      { hint: 'Make one with "upkeep gateway init".' },
    );
  }
  const { listen, signers } = parseGatewayConfig(fromUtf8(await disk.read(path, 1024 * 1024)), path);
  const spki = identitySpki(createPublicKey(await readIdentity(disk, `${folder}/identity.pem`)));
  const rows = Object.entries(signers).map(([name, signer]) => [`signer ${name}`, signer.spki]);
  return {
    text: columns([["identity", spki], ["clients", listen.clients], ["signers", listen.signers], ...rows]),
    json: { folder, spki, listen, signers },
  };
}

export async function gatewayAdd(call: Call): Promise<Result> {
  const { disk, data } = call.context;
  const path = `${data}/gateway/gateway.toml`;
  const { name, spki } = parseSigner(call.argument(0));
  const text = appendTable(fromUtf8(await disk.read(path, 1024 * 1024)), ["signers", name], { spki });
  parseGatewayConfig(text, path);
  await writeAtomic(disk, path, toUtf8(text), 0o600);
  return {
    text: `The signer ${name} may connect; a running gateway reads it on SIGHUP.`,
    json: { name, spki },
  };
}

export async function gatewayStatus(call: Call): Promise<Result> {
  const { disk, data } = call.context;
  const path = `${data}/gateway/gateway.toml`;
  const { listen } = parseGatewayConfig(fromUtf8(await disk.read(path, 1024 * 1024)), path);
  if (listen.metrics === undefined) {
    throw usage(
      "This gateway has no page of counters.",
      `Add metrics = "127.0.0.1:7445" under [listen] in ${path}.`,
    );
  }
  const url = `http://${listen.metrics}/status.json`;
  let counters: Counters;
  try {
    const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(STATUS_TIMEOUT) });
    if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
    counters = parseCounters(await collect(response.body, MAX_COUNTERS));
  } catch (cause) {
    throw new SigningError(
      "signing/unreachable",
      "The gateway's page of counters cannot be read; does it run?",
      { url },
      { cause },
    );
  }
  const { idleBySigner, ...totals } = counters;
  const rows = [
    ...Object.entries(totals).map(([name, n]) => [name, String(n)]),
    ...Object.entries(idleBySigner).map(([signer, n]) => [`idle ${signer}`, String(n)]),
  ];
  return { text: columns(rows), json: counters };
}

export async function gatewayRun(call: Call): Promise<Result> {
  const { context } = call;
  const { runGateway } = await import("../../gateway/main.ts");
  await runGateway({
    folder: `${context.data}/gateway`,
    signal: context.signal,
    ready: ({ clients, signers, hosts }) => {
      context.terminal.ready?.();
      if (context.json)
        context.terminal.stdout.write(`${JSON.stringify({ ready: true, clients, signers })}\n`);
      else
        context.note(
          `gateway is ready: clients on ${hosts.clients}:${clients}, signers on ${hosts.signers}:${signers}`,
        );
    },
  });
  return { text: "", json: { stopped: true } };
}

function parseSigner(text: string): { readonly name: string; readonly spki: string } {
  const match = /^([a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)=([0-9a-f]{64})$/.exec(text);
  if (match === null)
    throw usage(`"${text.slice(0, 120)}" is not of the form name=spki.`, "upkeep signer init prints both.");
  return { name: match[1]!, spki: match[2]! };
}
