# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# io_path of a mounted disk is written to while its storage answers nothing, and its PCI function is reset meanwhile: the writer
# waits, or is told that the disk is busy, and nobody's I/O fails for it.
# limit: 200
[[ $MODE != c ]] || skip "the C driver has one path"
d=$(disk stalled)
function=$(readlink -f "/sys/block/$d/device/..")
mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "/dev/$d"
mkdir -p /tmp/stalled
mount "/dev/$d" /tmp/stalled
sync
dmesg -C
# Neither is done; after the reset, both are, when they are sent again.
host blkdev stalled fault op=get_id swallow
host blkdev stalled fault op=write swallow
other=$([[ $MODE == bio ]] && echo request || echo bio)
(echo "$other" >"/sys/block/$d/io_path") 2>/tmp/path.err &
writer=$!
dd if=/dev/urandom of=/tmp/stalled/file bs=4k count=1 oflag=direct status=none &
file=$!
sleep 2
! not_running $writer || fail "the writer of io_path did not wait: $(</tmp/path.err)"
! not_running $file || fail "the writer of the file did not wait"
begin=$SECONDS
echo 1 >"$function/reset" || fail "the function cannot be reset"
echo "# the reset took $((SECONDS - begin)) s"
wait_for 60 not_running $file || fail "the write does not end: $(dmesg)"
wait $file || fail "the write failed: $(dmesg)"
wait_for 60 not_running $writer || fail "the writer of io_path does not end: $(dmesg)"
wait $writer && fail "the path of a mounted disk was changed"
grep -q 'Device or resource busy' /tmp/path.err || fail "io_path: $(</tmp/path.err)"
! dmesg | grep 'the device works no more' || fail "the device was given up"
same io_path "$(<"/sys/block/$d/io_path")" "$MODE"
touch /tmp/stalled/another
sync -f /tmp/stalled || fail "the file system failed: $(dmesg)"
umount /tmp/stalled
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=1m
