#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One boot of the power-cut test: verify what the last cut left, then write until the next cut.
set -eu
# shellcheck source=tests/guest/lib.sh
. "$VSR_SRC/tests/guest/lib.sh"
# shellcheck disable=SC2119 # no further parameters
load
pids=()
for fs in ext4 xfs; do
	d=$(disk $fs)
	mkdir -p /mnt/$fs
	if ((CUT == 0)); then
		case $fs in
		ext4) mkfs.ext4 -q -F -E nodiscard "/dev/$d" ;;
		xfs) mkfs.xfs -q -f -K "/dev/$d" ;;
		esac
		sync "/dev/$d"
	fi
	# Mounting replays the journal; the checker then has to find nothing.
	mount -t $fs "/dev/$d" /mnt/$fs || fail "cut $CUT: $fs does not mount"
	if ((CUT > 0)); then
		umount /mnt/$fs
		case $fs in
		ext4) check="e2fsck -f -n" ;;
		xfs) check="xfs_repair -n" ;;
		esac
		$check "/dev/$d" >/tmp/check.log 2>&1 || { cat /tmp/check.log; fail "cut $CUT: $check finds errors"; }
		mount -t $fs "/dev/$d" /mnt/$fs
		python3 "$VSR_SRC/tests/guest/powercut.py" verify $fs "$ACKS/$fs.acks" "$CUT" || fail "cut $CUT: $fs lost acknowledged data"
	fi
done
if [[ -n $LAST ]]; then
	umount /mnt/ext4 /mnt/xfs
	unload
	exit 0
fi
for fs in ext4 xfs; do
	python3 "$VSR_SRC/tests/guest/powercut.py" load $fs "$CUT" &
	pids+=($!)
done
wait "${pids[@]}"
fail "the load ended before the cut"
