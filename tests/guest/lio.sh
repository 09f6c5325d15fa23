#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The target's guest of tests/harness/lio.py: a unit of $MIB MiB in memory, by iSCSI, to everybody. It lives until it is killed.
set -eu
# shellcheck source=scripts/guest/lib.sh
. "$VSR_GUEST_LIB"
modprobe -a virtio_net target_core_mod
mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
configured=/sys/kernel/config/target
# Where it keeps keys; before a fabric is there.
mkdir -p /tmp/target/pr /tmp/target/alua
echo /tmp/target >$configured/dbroot
modprobe iscsi_target_mod
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0

unit=$configured/core/rd_mcp_0/shared
mkdir -p "$unit"
echo rd_pages=$((MIB * 256)) >"$unit/control"
echo shared >"$unit/wwn/vpd_unit_serial"
echo 1 >"$unit/enable"
group=$configured/iscsi/$TARGET/tpgt_1
mkdir -p "$group/lun/lun_0" "$group/np/0.0.0.0:3260"
ln -s "$unit" "$group/lun/lun_0/shared"
for setting in authentication=0 generate_node_acls=1 cache_dynamic_acls=1 demo_mode_write_protect=0; do
	echo "${setting#*=}" >"$group/attrib/${setting%=*}"
done
echo 1 >"$group/enable"
# A guest that has said nothing for five minutes is taken for one that hangs in early boot, and killed.
echo "the target is there"
host ready
sleep infinity
