# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# dm-multipath by multipathd; its configuration is that of tests/harness/clusters.py.

# path_disks [SERIAL] prints the disks that are this unit.
path_disks()
{
	local dir
	for dir in /sys/block/sd*; do
		[[ $(serial "$dir") != "${1:-shared}" ]] || echo "${dir##*/}"
	done
}

# The two paths of each map are usable, as the kernel has it.
both_paths()
{
	local name
	for name in "${maps[@]}"; do
		[[ $(dmsetup status "/dev/$name" | grep -oE '[0-9]+:[0-9]+ A' | wc -l) == 2 ]] || return
	done
}

# find_map SERIAL: what is on both of its disks.
find_map()
{
	local d found=()
	for d in $(path_disks "$1"); do
		found+=("$(ls "/sys/block/$d/holders")")
	done
	[[ ${#found[@]} == 2 && ${found[0]} == dm-* && ${found[0]} == "${found[1]}" ]] && map=${found[0]}
}

# start_multipath SERIAL...: $maps are the devices, $map is the last of them.
start_multipath()
{
	local unit
	modprobe -a dm_mod dm_multipath dm_service_time dm_round_robin
	mount -t tmpfs tmpfs /etc/multipath
	for unit in "$@"; do
		same "how often the unit $unit is there" "$(path_disks "$unit" | wc -l)" 2
	done
	multipathd -d >/tmp/multipathd.log 2>&1 &
	maps=()
	for unit in "$@"; do
		wait_for 60 find_map "$unit" || fail "no map of $unit: $(cat /tmp/multipathd.log) $(dmsetup status)" \
			"$(udevadm info "/dev/$(path_disks "$unit" | head -n 1)" | grep -E 'ID_|MULTI')"
		maps+=("$map")
	done
	wait_for 60 both_paths || fail "not both paths: $(dmsetup status) $(cat /tmp/multipathd.log)"
}

stop_multipath()
{
	local name
	# It may be busy with a path.
	wait_for 30 eval 'multipathd shutdown >/tmp/shutdown.log 2>&1 || ! pidof multipathd >/dev/null' ||
		fail "multipathd: $(cat /tmp/shutdown.log) $(tail /tmp/multipathd.log)"
	wait_for 30 eval '! pidof multipathd >/dev/null' || fail "multipathd does not end: $(tail /tmp/multipathd.log)"
	for name in "${maps[@]}"; do
		wait_for 30 dmsetup remove "$(<"/sys/block/$name/dm/name")" || fail "the map stays: $(dmsetup info)"
	done
	umount /etc/multipath
}

# persist WORD...: mpathpersist on the map
persist()
{
	mpathpersist "$@" "/dev/$map" >/tmp/persist.log 2>&1 || fail "mpathpersist $*: $(cat /tmp/persist.log) $(tail /tmp/multipathd.log)"
}

# keys WHEN KEYS
keys()
{
	persist --in --read-keys
	same "the keys $1" "$(grep -oE '0x[0-9a-f]+$' /tmp/persist.log | xargs)" "$2"
}
