#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The guest's init after the root is mounted: run the script, tell the host its
# exit status, power off. /run/vsr is a folder of the host, one per run.
# Of another locale than C, each program would open 13 files of the host's.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C TERM=${TERM:-dumb}

for port in /sys/class/virtio-ports/*; do
	case $(<"$port/name") in
	vsr.host) VSR_PORT=/dev/${port##*/} ;;
	vsr.out) VSR_OUT=/dev/${port##*/} ;;
	esac
done
export VSR_PORT VSR_OUT
exec </dev/null
# Python's modules of the guest's memory come first, see initramfs-init.
[[ ! -d /run/python ]] || export PYTHONPATH=/run/python

set -a
# shellcheck disable=SC1091 # written by the host for each run
. /run/vsr/env
set +a
# shellcheck source=scripts/guest/lib.sh
. "$VSR_GUEST_LIB"

ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
ip link set dev lo up
cd /tmp || exit

if [[ -d ${VSR_MODULE_TREE:-} ]]; then
	mount --bind "$VSR_MODULE_TREE" /usr/lib/modules
fi
# Messages reach the serial log from here on; earlier ones would slow the boot.
echo "${VSR_LOGLEVEL:-7}" >/proc/sys/kernel/printk

# A task that hangs shall be named while the guest still lives.
echo 60 >/proc/sys/kernel/hung_task_timeout_secs

# From here on drivers are loaded. A script may have nothing to say for long.
host '!up'
if [[ -n ${VSR_UDEV:-} ]]; then
	/usr/lib/systemd/systemd-udevd --daemon --resolve-names=never
	udevadm trigger --type=subsystems --action=add
	udevadm trigger --type=devices --action=add
	udevadm settle --timeout=120
fi

if [[ -n ${VSR_INTERACTIVE:-} ]]; then
	# shellcheck disable=SC2086 # several words
	stty -F /dev/hvc0 ${VSR_STTY:-sane}
	LC_ALL=C.UTF-8 setsid --ctty bash --rcfile /run/vsr/script -i <>/dev/hvc0 >&0 2>&0
	status=$?
else
	# One writer a port is what virtio-serial allows: all output goes through cat.
	status=$(
		{ bash /run/vsr/script 2>&1; echo $? >/tmp/.status; } | cat >"$VSR_OUT"
		cat /tmp/.status
	)
fi
dmesg >/run/vsr/dmesg.txt
host '!exit' "$status"
# A disk that hangs must not keep the guest from ending.
sync &
wait_for 20 eval "! kill -0 $!"
busybox poweroff -f -n
