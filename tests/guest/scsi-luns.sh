# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# All disks at once, verified; queue depths; the whole depth in flight.
# limit: 400
pids=()
for name in data data4k high thin; do
	d=$(disk $name)
	fio --name="$name" --filename="/dev/$d" --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 --direct=1 \
		--ioengine=io_uring --iodepth=64 --bsrange=4k-64k --size=8m --randrepeat=0 --allow_file_create=0 \
		--output="/tmp/fio.$name" &
	pids+=($!)
done
for pid in "${pids[@]}"; do
	wait "$pid" || fail "fio: $(cat /tmp/fio.*)"
done
d=$(disk data)
for depth in 1 7 100; do
	echo $depth >"/sys/block/$d/device/queue_depth"
	same "the queue depth" "$(<"/sys/block/$d/device/queue_depth")" $depth
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bs=4k --size=1m
done
# More than the host has: what it has.
host=$(readlink -f "/sys/block/$d/device/../..")/scsi_host
cat "$host"/host*/can_queue >"/sys/block/$d/device/queue_depth"
same "the queue depth, cut" "$(<"/sys/block/$d/device/queue_depth")" "$(cat "$host"/host*/cmd_per_lun)"
