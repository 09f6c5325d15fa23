# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Rings of 4 to 1024 entries, with and without indirect descriptors, packed, legacy; more submitters than slots.
# limit: 600
for dir in /sys/block/vd*; do
	name=$(<"$dir/serial")
	[[ $name == ring-* ]] || continue
	d=${dir##*/}
	begin=$SECONDS
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-128k --size=1m --numjobs=4 --offset_increment=4m
	verify "$d" --direct=0 --ioengine=psync --bs=4k --size=1m --numjobs=4 --offset_increment=4m --end_fsync=1
	echo "$name: max_segments $(read_attr "$d" max_segments), $((SECONDS - begin)) s"
done
