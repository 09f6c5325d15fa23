# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The sample, a RAM disk of bios: it holds what is written; its removal, also while others look at all disks.
# driver: manual
# limit: 300
[[ $MODE != c ]] || skip "the kernel has no such disk"

load_driver size_mib=16
prove_driver
same "the size" "$(blockdev --getsize64 /dev/rbram0)" $((16 << 20))
verify rbram0 --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-256k --size=16m
# It has no command for zeroes: they are written, from pages that the whole system shares.
blkdiscard --zeroout /dev/rbram0
cmp -n $((16 << 20)) /dev/rbram0 /dev/zero || fail "there are not only zeroes"
cmp -n $((1 << 20)) /dev/zero <(head -c $((1 << 20)) /dev/zero) || fail "zero is something else"
exec 5</dev/rbram0
fails rmmod "$VSR_MODULE"
exec 5<&-
unload

# Who reads this has the disk for moments, and may be the last one: the module's end waits.
while :; do cat /proc/diskstats /proc/partitions; done >/dev/null &
reader=$!
for _ in $(seq 10); do
	load_driver size_mib=1
	dd if=/dev/zero of=/dev/rbram0 bs=64k count=4 oflag=direct status=none
	unload
done
kill $reader
