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
	fails "$2"
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
blkdev_stop answers

# No status at all. Not by VDUSE, whose bounce buffer would hand over the status of an older request.
fault()
{
	host blkdev same-ours fault "$1"
}
d=$(disk same-ours)
[[ $MODE == c ]] || fails_once "op=read sector=16 status=none" read_one 'bad answer: status 0xff, 4097 of 4097 bytes'

# An id that is not in flight breaks the ring: the device is given up, nothing hangs. The C driver hangs.
[[ $MODE != c ]] || return 0
for fault in id=other id=70000 double; do
	blkdev_start broken
	wait_for 10 disk broken >/dev/null || fail "no disk"
	d=$(disk broken)
	dmesg -C
	fio --name=load --filename="/dev/$d" --rw=randrw --bs=4k --direct=1 --ioengine=io_uring --iodepth=8 --size=32m \
		--allow_file_create=0 --time_based --runtime=60 --output=/tmp/load.log >/tmp/load.err 2>&1 &
	load=$!
	sleep 1
	blkdev broken fault $fault
	wait_for 40 not_running $load || fail "$fault: fio did not end"
	wait $load && fail "$fault: fio saw no error"
	dmesg | grep -q 'the device works no more' || fail "$fault: no message: $(dmesg)"
	fails read_one
	blkdev_stop broken
done
