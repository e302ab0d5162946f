// Hardened systemd units for signer and gateway, as text to install.

const COMMON = `# What the service may not do.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
CapabilityBoundingSet=
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
SystemCallArchitectures=native
UMask=0077
# No core files, and no swap for what holds keys.
LimitCORE=0
MemorySwapMax=0
# MemoryDenyWriteExecute stays off: the JavaScript engine compiles at run time.
`;

/** `signer` gets its passphrase as an encrypted credential (systemd-creds), never from a file in its data folder. */
export function systemdUnit(program: "signer" | "gateway"): string {
  const signer = program === "signer";
  return `[Unit]
Description=Upkeep ${signer ? "signer: guards signing keys" : "gateway of the signing service"}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=20

[Service]
Type=exec
User=upkeep-${program}
Group=upkeep-${program}
StateDirectory=upkeep-${program}
StateDirectoryMode=0700
${
  signer
    ? `RuntimeDirectory=upkeep-signer
RuntimeDirectoryMode=0700
# systemd-creds encrypt --name=unlock - /etc/credstore.encrypted/upkeep-signer.unlock
LoadCredentialEncrypted=unlock:/etc/credstore.encrypted/upkeep-signer.unlock
ExecStart=/usr/bin/upkeep --data /var/lib/upkeep-signer signer run --passphrase-file \${CREDENTIALS_DIRECTORY}/unlock`
    : `ExecStart=/usr/bin/upkeep --data /var/lib/upkeep-gateway gateway run`
}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=2
TimeoutStopSec=20
LimitNOFILE=65536
RestrictAddressFamilies=${signer ? "AF_INET AF_INET6 AF_UNIX" : "AF_INET AF_INET6"}

${COMMON}
[Install]
WantedBy=multi-user.target
`;
}
