# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The driver is unbound under I/O with the disk open, and bound again; the old descriptor stays harmless.
# limit: 300
expect_log 'Buffer I/O error|I/O error, dev vd'
driver=/sys/bus/virtio/drivers/virtio_blk
for round in 1 2 3; do
	d=$(disk plug)
	device=$(virtio_device "$d")
	exec 7<>"/dev/$d"
	fio --name=load --filename="/dev/$d" --rw=randrw --bsrange=512-64k --direct=$((round % 2)) --ioengine=io_uring \
		--iodepth=32 --numjobs=2 --size=32m --allow_file_create=0 --time_based --runtime=60 --output=/tmp/load.log >/tmp/load.err 2>&1 &
	load=$!
	sleep 2
	kill -0 $load 2>/dev/null || fail "fio ended too early: $(cat /tmp/load.err /tmp/load.log)"
	echo "$device" >$driver/unbind
	wait_for 40 not_running $load || fail "fio did not end after the unbind"
	wait $load && fail "fio saw no error"
	fails dd of=/dev/fd/7 if=/dev/zero bs=4k count=1 conv=fsync,notrunc status=none
	echo "$device" >$driver/bind
	wait_for 30 disk plug >/dev/null || fail "the disk did not come back"
	d=$(disk plug)
	prove_driver
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
	exec 7>&-
done
