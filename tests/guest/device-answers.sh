# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Answers that no device should give: the I/O fails, with a message; what follows works, or fails at once.
# limit: 300
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
read_one()
{
	timeout 20 dd if="/dev/$d" of=/dev/null bs=4k count=1 skip=2 iflag=direct status=none
}
write_one()
{
	timeout 20 dd if=/dev/zero of="/dev/$d" bs=4k count=1 seek=2 oflag=direct conv=notrunc status=none
}
# fails_once FAULT COMMAND [MESSAGE]: it fails with this fault, and only then.
fails_once()
{
	dmesg -C
	fault "$1"
	if "$2"; then
		fail "$2 succeeded, with $1"
	fi
	[[ -z ${3:-} ]] || dmesg | grep -q "$3" || fail "no '$3' in the log after $1: $(dmesg)"
	"$2" || fail "after $1: $2"
}
fault()
{
	blkdev answers fault "$1"
}
blkdev_start answers
wait_for 10 disk answers >/dev/null || fail "no disk"
d=$(disk answers)
fails_once "op=read sector=16 status=1" read_one
fails_once "op=write sector=16 status=1" write_one
fails_once "op=read sector=16 status=2" read_one
if [[ $MODE != c ]]; then
	# The kernel log has the first, the second and the fourth of them.
	fails_once "op=read sector=16 status=0xff" read_one 'bad answer: status 0xff, 4097 of 4097 bytes'
	fails_once "op=write sector=16 status=77" write_one 'bad answer: status 0x4d, 1 of 1 bytes'
	# The data looks good, but what says that the device wrote it?
	fails_once "op=read sector=16 used=4096" read_one
	fails_once "op=read sector=16 used=0" read_one 'bad answer: status 0x0, 0 of 4097 bytes'
	fails_once "op=write sector=16 used=0" write_one
	# Whichever CPU asks, and whichever is told.
	for cpu in $(seq 0 $((VSR_CPUS - 1))) $(seq 0 $((VSR_CPUS - 1))); do
		taskset -cp "$cpu" $$ >/dev/null
		fails_once "op=read sector=16 used=0" read_one
	done
	taskset -cp 0-$((VSR_CPUS - 1)) $$ >/dev/null
fi
# More than there is room for is nobody's business: the driver uses the length for nothing else.
blkdev answers fault "op=read used=4294967295"
read_one || fail "a length that is too large"
verify "$d" --direct=1 --ioengine=io_uring --iodepth=8 --bs=4k --size=256k
# A flush that fails reaches fsync.
blkdev answers fault "op=flush status=1"
fails dd if=/dev/zero of="/dev/$d" bs=4k count=1 conv=notrunc,fsync status=none
# The preflush of a commit record fails: the record is not written, for what it commits may not be there.
mkfs.ext4 -q -F -b 4096 -E nodiscard,lazy_itable_init=0 "/dev/$d"
# No commit but that of the fsync, however long that takes to begin.
mount -o noatime,commit=600 "/dev/$d" /mnt
echo data >/mnt/file
sync
sleep 1
blkdev answers mark commit
blkdev answers fault "op=flush status=1"
echo more >>/mnt/file
fails python3 -c "import os; os.fsync(os.open('/mnt/file', os.O_RDWR))" 2>/tmp/fsync
grep 'Input/output error' /tmp/fsync || fail "fsync failed with another error: $(cat /tmp/fsync)"
# It would be right behind the journal's blocks.
since commit /tmp/answers.log | awk '
	/ op=write / {
		match($0, / sector=[0-9]+/); sector = substr($0, RSTART + 8, RLENGTH - 8)
		match($0, / bytes=[0-9]+/); bytes = substr($0, RSTART + 7, RLENGTH - 7)
		if (failed && sector in behind) { print; bad = 1 }
		if (!failed) behind[sector + bytes / 512] = 1
	}
	/ op=flush .* status=1 / { failed = 1 }
	END { exit bad || !failed }' || fail "a commit record was written after its preflush had failed: $(tail -n 20 /tmp/answers.log)"
umount /mnt
blkdev_stop answers

# No status at all. Not by VDUSE, whose bounce buffer would hand over the status of an older request.
fault()
{
	host blkdev same-ours fault "$1"
}
d=$(disk same-ours)
[[ $MODE == c ]] || fails_once "op=read sector=16 status=none" read_one 'bad answer: status 0xff, 4097 of 4097 bytes'
