// Metrics in the Prometheus text form, version 0.0.4.

type Labels = Readonly<Record<string, string>>;
type Family = {
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly values: Map<string, number>;
};

/** Every metric the server has; a name that is not here cannot be counted. */
const FAMILIES = {
  upkeep_requests_total: ["counter", "Requests answered, by plane and class of status."],
  upkeep_check_ins_total: ["counter", "Check-ins answered with an assignment."],
  upkeep_leases_total: ["counter", "Leases asked for, by what came of it."],
  upkeep_reports_total: ["counter", "Reports received, by verdict."],
  upkeep_attempts_total: [
    "counter",
    "Attempts at an update that were reported, by outcome and assigned product.",
  ],
  upkeep_alarms: ["gauge", "Active alarms, by code and by whether they are acknowledged."],
  upkeep_rollouts: ["gauge", "Rollouts by state; those that are done are not counted."],
  upkeep_rollout_devices: ["gauge", "Devices of rollouts under way, by rollout and where they stand."],
  upkeep_enrolments_total: ["counter", "Enrollments, by result."],
  upkeep_wakes_total: ["counter", "Wake-ups sent to listeners."],
  upkeep_alerts_total: ["counter", "Alarms that went to a webhook or out by mail, by way and result."],
  upkeep_messages_sealed_total: ["counter", "Messages that were sealed and sent to listeners."],
  upkeep_message_keys_refused_total: [
    "counter",
    "Keys for messages that came with a check-in and were not signed by the device's report key.",
  ],
  upkeep_messenger_trusted: [
    "gauge",
    "1 while this server can seal messages: it has a messenger key, and the repository trusts it.",
  ],
  upkeep_devices: ["gauge", "Devices by liveness."],
  upkeep_listeners: ["gauge", "Devices that wait for a wake-up."],
  upkeep_connections: ["gauge", "Open connections of devices, those included whose handshake is not done."],
  upkeep_connections_limit: ["gauge", "Connections of devices that may be open at once."],
  upkeep_handshakes_unfinished: ["gauge", "Connections of devices whose TLS handshake is not done."],
  upkeep_connections_refused_total: [
    "counter",
    "Connections that were closed because their address had too many, or because handshakes were not finished.",
  ],
  upkeep_transfers: ["gauge", "Files being sent."],
  upkeep_transfers_refused_total: [
    "counter",
    "Files that were not sent to the end: their caller had too many under way, or did not read them.",
  ],
  upkeep_repository_expires_seconds: [
    "gauge",
    "Unix time when the first of the repository's metadata expires.",
  ],
  upkeep_repository_role_expires_seconds: [
    "gauge",
    "Unix time when a role's metadata expires, by who signs it (people or the server) and the names of its keys.",
  ],
  upkeep_repository_role_days_left: [
    "gauge",
    "Whole days until a role's metadata expires, negative when it has.",
  ],
  upkeep_repository_role_alarm: [
    "gauge",
    "How many of the alarm days 60, 30, 14, 7, 1 a role has passed; 6 when it has expired.",
  ],
  upkeep_repository_fresh: ["gauge", "1 when the last refresh of the repository succeeded."],
  upkeep_director_trusted: [
    "gauge",
    "1 while the repository trusts this server's director key for assignments.",
  ],
  upkeep_remembered_time_seconds: [
    "gauge",
    "Unix time before which this server takes no clock to be right, learned from the last refreshes.",
  ],
  upkeep_repository_behind: [
    "gauge",
    "1 while another server of the fleet has announced a newer repository than this one has.",
  ],
  upkeep_store_up: ["gauge", "1 while the database of the fleet's records can be reached."],
  upkeep_certificate_expires_seconds: ["gauge", "Unix time when the server's certificate ends."],
  upkeep_authority_expires_seconds: [
    "gauge",
    "Unix time when the authority ends that issues now, by kind: server or device.",
  ],
  process_cpu_seconds_total: ["counter", "Processor time used."],
  process_resident_memory_bytes: ["gauge", "Resident memory."],
  process_open_fds: ["gauge", "Open file descriptors."],
  process_max_fds: ["gauge", "Open file descriptors that the system allows."],
  process_start_time_seconds: ["gauge", "Unix time of the start."],
} as const satisfies { readonly [name: string]: readonly ["counter" | "gauge", string] };

export type MetricName = keyof typeof FAMILIES;

export class Metrics {
  readonly #families = new Map<MetricName, Family>();

  constructor() {
    for (const [name, [type, help]] of Object.entries(FAMILIES)) {
      this.#families.set(name as MetricName, { type, help, values: new Map() });
    }
  }

  count(name: MetricName, labels: Labels, by = 1): void {
    const { values } = this.#families.get(name)!;
    const key = labelText(labels);
    values.set(key, (values.get(key) ?? 0) + by);
  }

  set(name: MetricName, labels: Labels, value: number): void {
    this.#families.get(name)!.values.set(labelText(labels), value);
  }

  /** For gauges whose labels come and go. */
  forget(name: MetricName): void {
    this.#families.get(name)!.values.clear();
  }

  text(): string {
    const lines: string[] = [];
    for (const [name, { help, type, values }] of this.#families) {
      if (values.size === 0) continue;
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      for (const [labels, value] of values) lines.push(`${name}${labels} ${value}`);
    }
    return `${lines.join("\n")}\n`;
  }
}

/** Exposition format: backslash, quote and line feed are escaped. */
function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n")}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}
