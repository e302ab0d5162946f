// How an operating system starts signer and gateway: hardened systemd units, their users, and a task for Windows, as text to install.

export type Program = "signer" | "gateway";

/** `path` is the program as the unit starts it. */
export type UnitOptions = { readonly path: string };

const COMMON = `# What the service may not do.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateUsers=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
UMask=0077
# No core files, and no swap for what holds keys.
LimitCORE=0
MemorySwapMax=0
# MemoryDenyWriteExecute stays off: the JavaScript engine compiles at run time.
`;

const SIGNER = `# systemd-ask-password -n | systemd-creds encrypt --name=unlock - /etc/credstore.encrypted/upkeep-signer.unlock
LoadCredentialEncrypted=unlock:/etc/credstore.encrypted/upkeep-signer.unlock
RuntimeDirectory=upkeep-signer
RuntimeDirectoryMode=0700
# Keys start in a network namespace of their own in which nothing is ([service] sandbox): for that, and for nothing else.
RestrictNamespaces=user net
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
# No device of the host. Tokens behind pcscd or another local socket need none; for a card or board whose module opens a device itself:
#   systemctl edit upkeep-signer:  [Service]  PrivateDevices=no  DeviceAllow=/dev/NAME rw
# A module that keeps files (SoftHSM) needs  ReadWritePaths=/var/lib/softhsm/tokens  and its group.
PrivateDevices=yes
`;

const GATEWAY = `RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6
PrivateDevices=yes
`;

/** `signer` gets its passphrase as an encrypted credential (systemd-creds), never from a file in its data folder. For systemd 250 and later. */
export function systemdUnit(program: Program, { path }: UnitOptions): string {
  const signer = program === "signer";
  const name = `upkeep-${program}`;
  const command = signer ? `signer run --passphrase-file \${CREDENTIALS_DIRECTORY}/unlock` : "gateway run";
  return `[Unit]
Description=Upkeep ${signer ? "signer: guards signing keys" : "gateway of the signing service"}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=exec
# The user is made by: upkeep signer units ${program} --sysusers
User=${name}
Group=${name}
StateDirectory=${name}
StateDirectoryMode=0700
LogsDirectory=${name}
LogsDirectoryMode=0700
ExecStart=${path} --data /var/lib/${name} ${command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStopSec=20
LimitNOFILE=65536

${signer ? SIGNER : GATEWAY}
${COMMON}
[Install]
WantedBy=multi-user.target
`;
}

/** One line for sysusers.d(5): a system user without password and shell. */
export function sysusersLine(program: Program): string {
  return `u upkeep-${program} - "Upkeep ${program}" /var/lib/upkeep-${program}\n`;
}

/**
 * A task for the Windows Task Scheduler: at boot, without window, again after a failure, under an account with few rights.
 * Never run on Windows by us: its elements are those of Microsoft's task schema 1.2 ("Task Scheduler Schema"), nothing more is known.
 */
export function windowsTask(program: Program, { path }: UnitOptions): string {
  const data = `C:\\ProgramData\\upkeep-${program}`;
  const command = program === "signer" ? `signer run --passphrase-file "${data}\\unlock.txt"` : "gateway run";
  const notes =
    program === "signer"
      ? `
  The passphrase file must be readable by LOCAL SERVICE and Administrators only, on an encrypted volume:
    icacls ${data} /inheritance:r /grant:r "LOCAL SERVICE:(OI)(CI)M" "Administrators:(OI)(CI)F"
  Windows has no network namespaces: set  [service] sandbox = "off"  and bar the key processes with the firewall instead.`
      : `
    icacls ${data} /inheritance:r /grant:r "LOCAL SERVICE:(OI)(CI)M" "Administrators:(OI)(CI)F"`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<!--
  This task was never run on Windows: try it on a machine that guards nothing.
    schtasks /Create /TN upkeep-${program} /XML upkeep-${program}.xml${notes}
-->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Upkeep ${program} of the signing service</Description>
  </RegistrationInfo>
  <Triggers>
    <BootTrigger><Enabled>true</Enabled></BootTrigger>
  </Triggers>
  <Principals>
    <Principal id="Service">
      <UserId>S-1-5-19</UserId>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <Hidden>true</Hidden>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>255</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Service">
    <Exec>
      <Command>${escapeXml(path)}</Command>
      <Arguments>${escapeXml(`--data "${data}" ${command}`)}</Arguments>
    </Exec>
  </Actions>
</Task>
`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
