# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Completions in any order, and that in rings of 4: every byte is where it belongs.
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
blkdev_start ring4 '"ring": 4, "queues": 2, "order": "random", "latency_ms": 4'
wait_for 10 disk ring4 >/dev/null || fail "no disk ring4"
for serial in random reversed ring4; do
	d=$(disk $serial)
	for bytes in 4k-4k 512-32k; do
		verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=$bytes --size=512k --numjobs=2 \
			--offset_increment=8m --randrepeat=0
	done
	verify "$d" --direct=0 --ioengine=psync --bs=4k --size=512k --numjobs=4 --offset_increment=8m --end_fsync=1
	[[ $serial != ring4 ]] || break
	log=$(host blkdev $serial log)
	! grep ' status=[1-9n]' "$log" || fail "$serial: the device refused a request"
done
not_logged ring4 ' status=[1-9n]'
blkdev_stop ring4

# In bio mode with one command, all others wait, and go in the order in which they came. Else the line is the block layer's.
[[ $MODE == bio ]] || return 0
unload
load queue_depth=1
blkdev_start line '"latency_ms": 20'
wait_for 10 disk line >/dev/null || fail "no disk line"
blkdev line mark order
taskset -c 0 fio --name=line --filename="/dev/$(disk line)" --rw=read:12k --bs=4k --io_size=64k --size=4m --direct=1 \
	--ioengine=libaio --iodepth=16 --iodepth_batch_submit=16 --allow_file_create=0 --output=/tmp/fio.log ||
	fail "fio: $(cat /tmp/fio.log)"
same "the order of the reads" \
	"$(since order /tmp/line.log | sed -n 's/.* op=read .* sector=\([0-9]*\) .*/\1/p' | xargs)" \
	"$(seq -s ' ' 0 32 480)"
blkdev_stop line
