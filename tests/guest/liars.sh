# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Disks whose devices lie (tests/device/src/lies.rs), and who writes to them (writers.rs).

# What the kernel says of such devices, and may.
# shellcheck disable=SC2034 # for scenarios
LIES_LOG='I/O error, dev|Buffer I/O error|is not a head!|out of range|Synchronize Cache|Asking for cache data failed'
declare -A liar_disks liar_programs liar_resets liar_offline

# liars_found NAME...: their disks are there, and have zeroes where writers write.
liars_found()
{
	local name disk
	for name; do
		disk=$(disk "$name") || fail "no disk $name"
		liar_disks[$name]=$disk
		[[ $MODE == c ]] || liar_resets[$name]=$(operator_reset "$disk")
		rm -f "/tmp/$name".{stop,truth}
		dd if=/dev/zero of="/dev/$disk" bs=1M count=1 oflag=direct status=none
	done
}

# liar_begins NAME SEED ONE-OF COUNT [GENTLE | KIND]: see control.rs
liar_begins()
{
	local name=$1 reset
	read -ra reset <<<"${liar_resets[$1]:-}"
	host blkdev "$name" lies "${@:2}" >/dev/null
	# An operator resets a device where nothing moves for 3 s. In two minutes all I/O has ended, or never will.
	# Nice, since this shell has something to do as well.
	nice "$VSR_BLKDEV" writers "/dev/${liar_disks[$name]}" "$2" $((3 * VSR_SLOWNESS)) $((${LIES_END:-120} * VSR_SLOWNESS)) \
		"/tmp/$name" "${reset[@]}" >"/tmp/$name.writers" 2>&1 &
	liar_programs[$name]=$!
}

# back_online NAME: what an operator does for a disk that the SCSI mid-layer took offline, since its recovery was lied to.
back_online()
{
	local state=/sys/block/${liar_disks[$1]}/device/state
	[[ -e $state && $(<"$state") == offline ]] || return 0
	echo running >"$state"
	liar_offline[$1]=$((${liar_offline[$1]:-0} + 1))
}

# liar_goes_on NAME: its writers work, and it has not told all of its lies. Takes a second.
liar_goes_on()
{
	back_online "$1"
	! not_running "${liar_programs[$1]}" && [[ $(host blkdev "$1" await 1000) != told ]]
}

# liar_ends NAME COUNT: from now on it is honest, and all that was written is looked at.
liar_ends()
{
	local told reset host
	touch "/tmp/$1.stop"
	told=$(host blkdev "$1" truth)
	read -ra reset <<<"${liar_resets[$1]}"
	# What was swallowed comes again by this.
	echo "${reset[1]}" >"${reset[0]}" || fail "the reset of $1 failed"
	if [[ $MODE == scsi ]]; then
		host=$(scsi_host "${liar_disks[$1]}")
		wait_for 60 grep -qx running "$host/state" || fail "the recovery of $1 does not end: $(<"$host/state")"
		back_online "$1"
	fi
	touch "/tmp/$1.truth"
	wait "${liar_programs[$1]}" || fail "$1: $(<"/tmp/$1.writers"); $(dmesg | tail -n 20)"
	echo "$1: $(<"/tmp/$1.writers")${liar_offline[$1]:+, offline ${liar_offline[$1]} times}"
	((told >= $2)) || fail "$1 told only $told lies"
}
