# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The host's errors reach the program that asked: EIO on read, write and flush, ENOSPC as an error; nothing else is hurt.
expect_log 'Buffer I/O error|I/O error, dev vd'
python3 "$VSR_SRC/tests/guest/errors.py" "$(disk bad-read)" "$(disk bad-write)" "$(disk bad-flush)" "$(disk no-space)"
# A write with FUA that failed is not followed by a flush that would make it look good.
d=$(disk bad-write-log)
host flushlog mark bad-write-log
fails dd if=/dev/zero of="/dev/$d" bs=4k count=1 seek=256 oflag=direct,dsync conv=notrunc status=none
log=$(host flushlog read bad-write-log)
[[ $log != *F* ]] || fail "a flush followed the failed write: $log"
# One write, which the limits split: its second part succeeds and must not hide that the first one failed.
limit=/sys/block/$d/queue/max_sectors_kb
before=$(<"$limit")
echo 64 >"$limit"
fails dd if=/dev/zero of="/dev/$d" bs=1M count=1 seek=1 oflag=direct conv=notrunc status=none
dd if=/dev/zero of="/dev/$d" bs=1M count=1 seek=2 oflag=direct conv=notrunc status=none || fail "a good place"
echo "$before" >"$limit"
