// What `agent hosts` does: the hosts that this device asks, and why, as a firewall has to know them.

import { openDeviceLocations } from "../../agent/locations.ts";
import { placeIn } from "../../agent/settings.ts";
import { placeName } from "../../io/connection/failure.ts";
import { loadIdentity } from "../../io/device/device-identity.ts";
import type { Call, Result } from "../framework/command.ts";
import { columns } from "../framework/style.ts";
import { loadSettings } from "./local-settings.ts";

type Why = "list of locations" | "on trial" | "enrollment" | "agent.toml" | "mirror" | "proxy";

export async function agentHosts(call: Call): Promise<Result> {
  const { disk, data, clock } = call.context;
  const { record, reportKey } = await loadIdentity(disk, `${data}/identity`);
  const settings = await loadSettings(disk, data);
  const enrolled = [record.server, ...(record.others ?? [])];
  const locations = await openDeviceLocations({
    world: { disk, clock, log: () => {} },
    folder: data,
    key: reportKey,
    bootstrap: enrolled,
  });
  const first = enrolled.map(placeName);
  const found: (readonly [string, Why])[] = [
    ...locations.hosts.servers.map((place) => {
      const name = placeName(place);
      const why: Why = first.includes(name)
        ? "enrollment"
        : locations.onTrial
          ? "on trial"
          : "list of locations";
      return [name, why] as const;
    }),
    ...(settings.servers ?? []).map((text) => [placeName(placeIn(text)!), "agent.toml"] as const),
    ...[...locations.hosts.mirrors, ...(settings.mirrors ?? [])]
      .filter((mirror) => /^https?:/i.test(mirror))
      .map((mirror) => [hostOf(mirror), "mirror"] as const),
    ...(settings.proxy === undefined || settings.proxy === "none"
      ? []
      : [[hostOf(settings.proxy), "proxy"] as const]),
  ];
  const hosts = [...new Map(found.toReversed()).entries()].toReversed();
  const text = [
    columns(
      hosts.map(([host, why]) => [host, why]),
      call.context.width,
    ),
    ...(locations.tampered === null ? [] : [`warning: ${locations.tampered.message}`]),
  ].join("\n");
  return {
    text,
    json: {
      hosts: hosts.map(([host, why]) => ({ host, why })),
      locations: { version: locations.version, trial: locations.onTrial },
      tampered: locations.tampered !== null,
    },
  };
}

function hostOf(address: string): string {
  const { hostname, port, protocol } = new URL(address);
  return `${hostname}:${port === "" ? (protocol === "http:" ? "80" : "443") : port}`;
}
