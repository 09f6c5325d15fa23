# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Disks served by tests/device, in this guest (VDUSE). See tests/device/src/settings.rs and control.rs.

# blkdev_start NAME ['"FIELD": VALUE, ...']: a disk with these settings; its serial number is NAME.
blkdev_start()
{
	load_vduse
	# An older device's would look as if this one were ready.
	rm -f "/tmp/$1.control"
	"$VSR_BLKDEV" vduse "{\"serial\": \"$1\", \"control\": \"/tmp/$1.control\", \"log\": \"/tmp/$1.log\"${2:+, $2}}" \
		>"/tmp/$1.messages" 2>&1 &
	wait_for 30 test -S "/tmp/$1.control" || fail "no device $1: $(<"/tmp/$1.messages")"
	# The driver probes now, if it is loaded.
	vdpa dev add name "$1" mgmtdev vduse || fail "vdpa dev add $1 (${2:-})"
}

# blkdev NAME COMMAND...
blkdev()
{
	local name=$1
	shift
	"$VSR_BLKDEV" control "/tmp/$name.control" "$@" || fail "blkdev $name $*"
}

# blkdev_gone NAME: the driver lets go of the disk.
blkdev_gone()
{
	vdpa dev del "$1" || fail "vdpa dev del $1"
}

# blkdev_stop NAME
blkdev_stop()
{
	[[ ! -e /sys/bus/vdpa/devices/$1 ]] || blkdev_gone "$1"
	blkdev "$1" quit >/dev/null 2>&1 || true
	wait_for 30 "$VSR_BLKDEV" destroy "$1" || fail "the device $1 does not go"
	[[ ! -s /tmp/$1.messages ]] || fail "blkdev $1: $(<"/tmp/$1.messages")"
}

# logged NAME REGEX: a line of the log matches.
logged()
{
	grep -qE "$2" "/tmp/$1.log" || {
		tail -n 20 "/tmp/$1.log"
		fail "the device $1 saw nothing like '$2'"
	}
}

# not_logged NAME REGEX: no line of the log does.
not_logged()
{
	if grep -E "$2" "/tmp/$1.log"; then
		fail "the device $1 saw this"
	fi
}
