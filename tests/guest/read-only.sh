# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A read-only disk: shown so, readable, never written, not even by insisting.
d=$(disk readonly)
same "/sys/block/$d/ro" "$(<"/sys/block/$d/ro")" 1
same "blockdev --getro" "$(blockdev --getro "/dev/$d")" 1
same "its first bytes" "$(head -c 9 "/dev/$d")" "read only"
fails dd if=/dev/zero of="/dev/$d" bs=512 count=1 oflag=direct status=none
blockdev --setrw "/dev/$d" || true
fails dd if=/dev/zero of="/dev/$d" bs=512 count=1 oflag=direct conv=fsync status=none
same "its first bytes" "$(dd if="/dev/$d" bs=512 count=1 iflag=direct status=none | head -c 9)" "read only"
d=$(disk data)
same "/sys/block/$d/ro of a writable disk" "$(<"/sys/block/$d/ro")" 0
