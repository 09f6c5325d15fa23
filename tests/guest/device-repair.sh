# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Loss is proven, and repaired: a false id in a ring, a command that came twice, and the same again and again. Nothing is lost,
# nothing fails; the writes that were in flight are in the disk in the order of submission.
# limit: 800
[[ $MODE != c ]] || skip "the C driver hangs"
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
blkdev_start repair '"queues": 2, "latency_ms": 3'
wait_for 10 disk repair >/dev/null || fail "no disk"
d=$(disk repair)
resets()
{
	cat "/sys/block/$d/reset"
}
same "resets at first" "$(resets)" 0
dmesg -C
for _ in $(seq "$VSR_ROUNDS"); do
	for fault in id=other id=70000 double; do
		before=$(resets)
		# One at once: it may write for less than a second.
		blkdev repair fault "op=write skip=$((RANDOM % 20)) $fault"
		fio --name=load --filename="/dev/$d" --rw=randwrite --bsrange=512-16k --direct=1 --ioengine=io_uring --iodepth=16 --size=24m \
			--numjobs=2 --offset_increment=24m --allow_file_create=0 --fsync=32 --io_size=6m --verify=crc32c --verify_fatal=1 \
			--do_verify=1 --output=/tmp/load.log >/tmp/load.err 2>&1 &
		load=$!
		sleep 1
		for _ in 1 2 3; do
			blkdev repair fault "op=write skip=$((RANDOM % 20)) $fault"
			sleep 0.5
		done
		wait_for 400 not_running $load || fail "$fault: fio does not end: $(dmesg | tail)"
		wait $load || fail "$fault: $(cat /tmp/load.err; grep -A3 'bad request' /tmp/repair.log | tail -n 9)"
		(($(resets) > before)) || fail "$fault: there was no reset"
		blkdev repair clear
	done
done
dmesg | grep -q 'resetting the device' || fail "no message: $(dmesg)"
# Two writes of the same sectors, of which the device has done neither, are done in the order of submission.
blkdev repair fault "op=write sector=2048 count=2 swallow"
python3 - "/dev/$d" <<'P' &
import mmap, os, sys, threading, time
disk = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
def write(byte):
    page = mmap.mmap(-1, 4096)
    page.write(byte * 4096)
    os.pwrite(disk, page, 2048 * 512)
os.sched_setaffinity(0, {0})
threads = [threading.Thread(target=write, args=(byte,)) for byte in (b"1", b"2")]
for thread in threads:
    thread.start()
    time.sleep(2)
for thread in threads:
    thread.join()
page = mmap.mmap(-1, 4096)
os.preadv(disk, [page], 2048 * 512)
assert page[:] == b"2" * 4096, page[:16]
P
writer=$!
both_swallowed()
{
	(($(grep -c 'swallow: true' /tmp/repair.log) == 2))
}
wait_for 60 both_swallowed || fail "the two writes do not come"
! not_running $writer || fail "the writes did not wait"
echo 1 >"/sys/block/$d/reset" || fail "the reset failed"
wait_for 60 not_running $writer || fail "the writes do not end"
wait $writer || fail "the writes were not done in order"
# What the device swallowed is late, beside other I/O that is not; the operator has set an end to that.
blkdev repair fault "op=read sector=4096 swallow count=2"
dd if="/dev/$d" of=/dev/null bs=4k count=1 skip=512 iflag=direct status=none &
reader=$!
before=$(resets)
sleep 3
! not_running $reader || fail "the read did not wait"
same "resets without an end" "$(resets)" "$before"
echo 1 >/sys/module/virtio_blk/parameters/timeouts
while (($(resets) == before)); do
	dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none
	sleep 0.2
	((SECONDS < 1000)) || fail "no reset for one that is late"
done
echo 0 >/sys/module/virtio_blk/parameters/timeouts
# What was sent again, and is not answered either, has not ended.
wait_for 20 told 'slow storage: ' || fail "no word of the late read: $(dmesg)"
sleep 4
! not_running $reader || fail "the read that was sent again did not wait"
! dmesg | grep 'have ended' || fail "a command that waits is told to have ended"
same "resets for one that is late" "$(resets)" $((before + 1))
echo 1 >"/sys/block/$d/reset" || fail "the reset failed"
wait_for 60 not_running $reader || fail "the late read does not end"
wait $reader || fail "the late read failed"
# A new size whose interrupt got lost is seen after a repair.
blkdev repair unheard capacity $((80 << 11))
sleep 1
same "the size before the repair" "$(blockdev --getsize64 "/dev/$d")" $((64 << 20))
before=$(resets)
blkdev repair fault "op=read id=70000"
dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "a read failed in a repair"
(($(resets) > before)) || fail "there was no repair"
wait_for 20 has_size "$d" $((80 << 20)) || fail "the size after the repair is $(blockdev --getsize64 "/dev/$d")"
# A device that breaks its ring again and again is given up, with 32 I/Os in one plug.
echo 2 >/sys/module/virtio_blk/parameters/repairs
blkdev repair fault "id=70000 count=0"
fails timeout 100 fio --name=dead --filename="/dev/$d" --rw=randwrite --bs=4k --direct=1 --ioengine=io_uring --iodepth=32 \
	--iodepth_batch=32 --size=8m --fsync=32 --allow_file_create=0 --output=/tmp/dead.log
dmesg | grep -q 'the device works no more: it is reset, and all I/O to it fails' || fail "it was not given up: $(dmesg)"
fails timeout 20 dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none
# The operator knows better.
blkdev repair clear
echo 1 >"/sys/block/$d/reset" || fail "the reset failed"
verify "$d" --direct=1 --ioengine=io_uring --iodepth=8 --bs=4k --size=1m
blkdev_stop repair

# What is sent again does not fit into the ring at once, and the device takes its time: its storage is slow, no more.
echo 10 >/sys/module/virtio_blk/parameters/repairs
blkdev_start slow '"ring": 16, "without": ["indirect_desc"]'
device=$!
wait_for 10 disk slow >/dev/null || fail "no disk"
d=$(disk slow)
blkdev slow fault "op=write drop count=0"
dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc status=none &
writers=($!)
sleep 1
# While the device does not answer to the reset, more comes than fits: 8 writes of 3 descriptors each.
kill -STOP $device
(echo 1 >"/sys/block/$d/reset") 2>/tmp/reset.err &
reset=$!
sleep 1
for at in 1 2 3 4 5 6 7; do
	dd if=/dev/zero of="/dev/$d" bs=4k count=1 seek=$at oflag=direct conv=notrunc status=none &
	writers+=($!)
done
sleep 1
kill -CONT $device
sleep 9
wait_for 60 not_running $reset || fail "the reset waits for slow storage"
wait $reset || fail "the reset failed: $(</tmp/reset.err)"
for writer in "${writers[@]}"; do
	! not_running "$writer" || fail "a write did not wait"
done
blkdev slow clear
blkdev slow release
for writer in "${writers[@]}"; do
	wait_for 30 not_running "$writer" || fail "a write does not end: $(dmesg | tail)"
	wait "$writer" || fail "a write failed"
done
same "resets of the device whose storage is slow" "$(resets)" 1
verify "$d" --direct=1 --ioengine=io_uring --iodepth=8 --bs=4k --size=1m
blkdev_stop slow
