# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# dm-multipath by multipathd, over the unit `shared`; its configuration is that of tests/harness/clusters.py.

# path_disks prints the disks that are the unit.
path_disks()
{
	local dir
	for dir in /sys/block/sd*; do
		[[ $(serial "$dir") != shared ]] || echo "${dir##*/}"
	done
}

# The two paths are usable, as the kernel has it.
both_paths()
{
	[[ $(dmsetup status "/dev/$map" | grep -oE '[0-9]+:[0-9]+ A' | wc -l) == 2 ]]
}

find_map()
{
	local dir
	for dir in /sys/block/dm-*; do
		[[ $(cat "$dir/dm/uuid" 2>/dev/null) != mpath-* ]] || map=${dir##*/}
	done
	[[ -n ${map:-} ]]
}

# start_multipath: $map is the device.
start_multipath()
{
	modprobe -a dm_mod dm_multipath dm_service_time dm_round_robin
	mount -t tmpfs tmpfs /etc/multipath
	same "how often the unit is there" "$(path_disks | wc -l)" 2
	multipathd -d >/tmp/multipathd.log 2>&1 &
	wait_for 60 find_map || fail "no map: $(cat /tmp/multipathd.log) $(udevadm info "/dev/$(path_disks | head -n 1)" | grep -E 'ID_|MULTI')"
	wait_for 60 both_paths || fail "not both paths: $(dmsetup status) $(cat /tmp/multipathd.log)"
}

stop_multipath()
{
	multipathd shutdown >/dev/null || fail "multipathd does not end"
	wait_for 30 eval '! pidof multipathd >/dev/null' || fail "multipathd does not end"
	wait_for 30 dmsetup remove "$(<"/sys/block/$map/dm/name")" || fail "the map stays: $(dmsetup info)"
	umount /etc/multipath
}
