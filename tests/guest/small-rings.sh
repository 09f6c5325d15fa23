# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Rings of 4 to 256 entries, more submitters than slots: nobody starves, nothing is lost.
# driver: manual
# limit: 600
# shellcheck source=tests/guest/vduse.sh
. "$VSR_SRC/tests/guest/vduse.sh"
sizes="4 8 32 256"
for size in $sizes; do
	vduse_disk "ring$size" "$size"
done
load
for size in $sizes; do
	d=$(disk "ring$size")
	if [[ $MODE != bio ]]; then
		echo none >"/sys/block/$d/queue/scheduler"
		echo "ring of $size: $(read_attr "$d" nr_requests) requests, $(read_attr "$d" max_segments) segments"
	fi
	begin=$SECONDS
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=512-16k --size=128k --numjobs=4 --offset_increment=1m
	verify "$d" --direct=0 --ioengine=psync --bs=4k --size=256k --numjobs=2 --offset_increment=1m --end_fsync=1
	python3 "$VSR_SRC/tests/guest/scattered.py" "/dev/$d" small
	if [[ $MODE == bio && $size == 4 ]]; then
		# VDUSE's interrupts must not add what they make possible.
		file=$(counters_of "$d")
		(($(counted "$file" deferred) > 0)) || fail "nothing was left to a worker: $(<"$file")"
	fi
	echo "ring of $size: $((SECONDS - begin)) s"
done
unload
for size in $sizes; do
	vduse_remove "ring$size"
done
