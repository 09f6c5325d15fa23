# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Rings of each kind: split, packed, in order, with and without indirect descriptors, legacy; more submitters than slots.
# limit: 600
for dir in /sys/block/vd*; do
	name=$(<"$dir/serial")
	[[ $name == ring-* ]] || continue
	d=${dir##*/}
	# Bit 28 INDIRECT_DESC, 29 EVENT_IDX, 32 VERSION_1, 34 RING_PACKED, 35 IN_ORDER, 40 RING_RESET
	features=$(<"/sys/bus/virtio/devices/$(virtio_device "$d")/features")
	bits="${features:28:1}${features:29:1} ${features:32:1} ${features:34:1}${features:35:1} ${features:40:1}"
	case $name in
	ring-direct) want="01 1 00 1" ;;
	ring-noevent) want="10 1 00 1" ;;
	ring-packed) want="11 1 10 1" ;;
	ring-in-order) want="11 1 01 1" ;;
	ring-packed-in-order) want="11 1 11 1" ;;
	ring-no-reset) want="11 1 00 0" ;;
	ring-legacy) want="11 0 00 0" ;;
	*) want="11 1 00 1" ;;
	esac
	same "features 28 29, 32, 34 35, 40 of $name" "$bits" "$want"
	begin=$SECONDS
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-128k --size=1m --numjobs=4 --offset_increment=4m
	verify "$d" --direct=0 --ioengine=psync --bs=4k --size=1m --numjobs=4 --offset_increment=4m --end_fsync=1
	echo "$name: max_segments $(read_attr "$d" max_segments), $((SECONDS - begin)) s"
done
