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
