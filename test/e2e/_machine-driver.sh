# What an operator types to set up gateway and signer under systemd, and a client that signs. Each line "name: value" is read by the test.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
ip link set lo up 2>/dev/null || /opt/node -e 0
as() { user=$1; shift; setpriv --reuid="$user" --regid="$user" --clear-groups env -i PATH="$PATH" UPKEEP_UNLOCK="correct horse battery staple" upkeep "$@"; }
field() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
mkdir -p /etc/sysusers.d
for each in signer gateway; do
  upkeep signer units $each > /etc/systemd/system/upkeep-$each.service
  upkeep signer units $each --sysusers > /etc/sysusers.d/upkeep-$each.conf
done
systemd-sysusers upkeep-signer.conf upkeep-gateway.conf
for each in signer gateway; do install -d -m 0700 -o upkeep-$each -g upkeep-$each /var/lib/upkeep-$each; done
signer="as upkeep-signer --data /var/lib/upkeep-signer"
gateway="as upkeep-gateway --data /var/lib/upkeep-gateway"
gw=$($gateway --json gateway init --clients 127.0.0.1:7443 --signers 127.0.0.1:7444 | field spki)
spki=$($signer --json signer init --name signer-1 --gateway "127.0.0.1:7444=$gw" | field spki)
$gateway gateway add "signer-1=$spki"
id=$(upkeep signer identity /tmp/id.pem)
$signer signer key new release --scheme ecdsa-sha2-nistp256
$signer signer cert self release
$signer signer user add build --key "$id"
$signer signer policy set release --user build --operation cms
$signer signer describe --gateway "127.0.0.1:7443=$gw" > /tmp/service.json
sed -i '/^name = /a sandbox = "require"\nlog-file = "/var/log/upkeep-signer/signer.log"' /var/lib/upkeep-signer/signer/signer.toml
mkdir -p /etc/credstore.encrypted
printf %s "correct horse battery staple" | systemd-creds encrypt --name=unlock - /etc/credstore.encrypted/upkeep-signer.unlock
systemctl daemon-reload
systemctl start upkeep-gateway.service upkeep-signer.service
echo hello > /tmp/notes.txt
sign() { upkeep --json service sign /tmp/notes.txt --cert release --service /tmp/service.json --identity /tmp/id.pem --patience 20 >/dev/null && echo "$1: signed" || echo "$1: not signed"; }
sign first
for each in upkeep-signer upkeep-gateway; do echo "$each: $(systemctl show -p ActiveState --value $each.service)"; done
main=$(systemctl show -p MainPID --value upkeep-signer.service)
for pid in $main $(pgrep -P "$main"); do
  echo "process: $(tr '\0' ' ' < /proc/$pid/cmdline | grep -o 'signer/[a-z]*.ts' || echo keeper) $(readlink /proc/$pid/ns/net) $(sed -n 's/^Uid:\t\([0-9]*\).*/uid=\1/p;s/^NoNewPrivs:\t/nnp=/p;s/^CapEff:\t/caps=/p;s/^Seccomp:\t/seccomp=/p' /proc/$pid/status | tr '\n' ' ')"
done
systemctl reload upkeep-signer.service && echo "reload: ok"
sleep 1
echo "reloaded: $(grep -c '"event":"reloaded"' /var/log/upkeep-signer/signer.log)"
echo "log mode: $(stat -c %a /var/log/upkeep-signer/signer.log)"
kill -9 "$main"
sleep 3
sign second
echo "restarts: $(systemctl show -p NRestarts --value upkeep-signer.service)"
systemctl stop upkeep-signer.service upkeep-gateway.service
echo "result: $(systemctl show -p Result --value upkeep-signer.service) $(systemctl show -p Result --value upkeep-gateway.service)"
echo "stopped: $(tail -n 1 /var/log/upkeep-signer/signer.log | field event)"
journalctl --no-pager -o cat -u upkeep-signer -u upkeep-gateway | tail -n 20
