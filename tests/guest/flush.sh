# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What reaches the host, in order, as its write log has it: W write, F flush, A write with FUA.
# limit: 300
host flushlog mark flush
# check WHAT LOG-PATTERN FLUSH-COMMANDS DISK
check()
{
	local found now
	found=$(host flushlog read "$4")
	now=$(host flushes "$4")
	[[ $found =~ ^($2)$ ]] || fail "$1: the host saw '$found', not '$2'"
	[[ -z $3 ]] || same "$1: the number of flush commands" $((now - flushes)) "$3"
	echo "$1: $found, $((now - flushes)) flush commands"
	flushes=$now
}
flushes=$(host flushes flush)
d=$(disk flush)
write="dd if=/dev/zero of=/dev/$d bs=4k count=1 oflag=direct conv=notrunc status=none"
$write
check "a direct write" "W" 0 flush
python3 -c "import os; os.fsync(os.open('/dev/$d', os.O_RDWR))"
check "fsync alone (PREFLUSH without data)" "F" 1 flush
# On a block device RWF_DSYNC is a FUA write, and a flush by the sync after it.
python3 - "/dev/$d" <<'P'
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
os.pwritev(fd, [mmap.mmap(-1, 4096)], 0, os.RWF_DSYNC)
P
check "a FUA write and a sync" "W F" 2 flush
dd if=/dev/zero of="/dev/$d" bs=4k count=4 conv=notrunc,fsync status=none
check "buffered writes and fsync" "(W )+F" 1 flush

# xfs writes its log with PREFLUSH and FUA: flush, the record, flush.
mkfs.xfs -q -f -K "/dev/$d"
mount "/dev/$d" /mnt
sync
sleep 1
host flushlog mark flush
flushes=$(host flushes flush)
echo data >/mnt/file
python3 -c "import os; os.fsync(os.open('/mnt/file', os.O_RDWR))"
check "xfs, a new file and fsync (PREFLUSH and FUA with data)" "(W )*F W F" "" flush
umount /mnt
# ext4 without a journal, and with: the commit record is PREFLUSH and FUA.
mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0 "/dev/$d"
# No commit but that of the fsync, however long that takes to begin.
mount -o noatime,commit=600 "/dev/$d" /mnt
sync
sleep 1
host flushlog mark flush
flushes=$(host flushes flush)
echo data >/mnt/file
python3 -c "import os; os.fsync(os.open('/mnt/file', os.O_RDWR))"
check "ext4, a new file and fsync" "(W )+F W F" 2 flush
umount /mnt

# A host without a write-back cache is sent no flush at all.
host flushlog mark flush-through
flushes=$(host flushes flush-through)
d=$(disk flush-through)
same "cache_type of the disk without a cache" "$(<"/sys/block/$d/cache_type")" "write through"
same write_cache "$(read_attr "$d" write_cache)" "write through"
dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct,dsync conv=notrunc,fsync status=none
check "a synchronous write and fsync, host without a cache" "[AW]( F)?" 0 flush-through
