#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Two guests share a disk with an ext4 that has multi-mount protection; $ROLE is first or second. While the first has it mounted, the
# second may not; when the first is dead, it may, and finds what was fsynced.
set -eu
# shellcheck source=tests/guest/lib.sh
. "$VSR_SRC/tests/guest/lib.sh"
# What the kernel says of the mount that is refused.
expect_log 'EXT4-fs.*(MMP|Device is already active)'

meet()
{
	host meet "$1" || fail "the other guest has failed before '$1'"
}

# shellcheck disable=SC2119 # no further parameters
load
d=$(disk shared)

first()
{
	mkfs.ext4 -q -F -O mmp -E nodiscard,mmp_update_interval=1 "/dev/$d"
	mount "/dev/$d" /mnt
	meet mounted
	meet refused
	# It goes on as if nothing had been.
	dd if=/dev/zero bs=1M count=4 status=none | tr '\0' f >/mnt/file
	sync -f /mnt/file
	meet written
	host '!kill'
	sleep 60
	fail "it lives"
}

second()
{
	meet mounted
	blockdev --flushbufs "/dev/$d"
	fails mount "/dev/$d" /mnt
	dmesg | grep 'EXT4-fs' | grep -E 'MMP|already active' || fail "it was refused for another reason: $(dmesg | grep EXT4-fs)"
	meet refused
	meet written
	blockdev --flushbufs "/dev/$d"
	mount "/dev/$d" /mnt || fail "the mount after the other's end: $(dmesg | grep EXT4-fs)"
	same "the size of the file" "$(stat -c %s /mnt/file)" $((4 << 20))
	same "what else than f is in it" "$(tr -d f </mnt/file | wc -c)" 0
	umount /mnt
	e2fsck -fn "/dev/$d" >/tmp/fsck.log 2>&1 || fail "$(cat /tmp/fsck.log)"
}

$ROLE
unload
