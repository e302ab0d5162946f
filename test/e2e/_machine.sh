# A machine of its own for a test: systemd as PID 1 in private PID, mount, cgroup, network, IPC and UTS namespaces, over a copy-on-write
# view of this one. Nothing it does is seen outside but what it writes into $1.
# Usage: _machine.sh FOLDER CGROUP CHECKOUT NODE; FOLDER holds stage/driver.sh and takes out/driver.log.
set -eu
echo $$ > "$2/cgroup.procs"
exec unshare --fork --kill-child --pid --mount --cgroup --ipc --uts --net sh -eu -c '
folder=$1 checkout=$3 node=$4
mount --make-rprivate /
mkdir "$folder/machine"
mount -t tmpfs -o mode=755 tmpfs "$folder/machine"
cd "$folder/machine"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do : > dev/$name; mount --bind /dev/$name dev/$name; done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p mnt opt/upkeep opt/out opt/stage
: > opt/node
mount --bind "$checkout" opt/upkeep
mount --bind "$node" opt/node
mount --bind "$folder/out" opt/out
mount --bind "$folder/stage" opt/stage
hostname upkeep-test
printf "#!/bin/sh\nexec /opt/node /opt/upkeep/src/apps/cli/main.ts \"\$@\"\n" > usr/bin/upkeep
chmod 755 usr/bin/upkeep
: > etc/fstab
# Of the usual services only the journal; above all nothing that speaks to the hardware.
for unit in modprobe@.service systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
  systemd-logind.service systemd-modules-load.service systemd-sysctl.service systemd-binfmt.service systemd-networkd.service \
  systemd-resolved.service systemd-timesyncd.service systemd-remount-fs.service systemd-sysusers.service dbus.service dbus.socket \
  dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
  proc-sys-fs-binfmt_misc.automount timers.target; do
  ln -sf /dev/null etc/systemd/system/$unit
done
printf "[Service]\nType=oneshot\nTimeoutStartSec=100\nExecStart=/bin/sh /opt/stage/driver.sh\nExecStopPost=/bin/systemctl --no-block exit\nStandardOutput=file:/opt/out/driver.log\nStandardError=file:/opt/out/driver.log\n" > etc/systemd/system/driver.service
printf "[Unit]\nRequires=sysinit.target basic.target\nAfter=basic.target\nWants=driver.service\n" > etc/systemd/system/driver.target
pivot_root . mnt
umount -l /mnt
# Without a container manager nobody else does this; credentials reach services by propagation.
mount --make-rshared /
export container=upkeep-test
exec /lib/systemd/systemd --unit=driver.target --show-status=no </dev/null >/dev/null 2>&1
' sh "$@"
