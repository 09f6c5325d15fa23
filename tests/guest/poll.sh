# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# poll_queues: I/O that is polled for comes without interrupts, also under an unbind; other I/O goes on beside it.
# driver: manual
# limit: 400
expect_log 'Buffer I/O error|I/O error, dev vd'
# interrupts DISK of all its queues
interrupts()
{
	awk -v name="$(virtio_device "$1")-req" 'index($NF, name) == 1 { sum += $2 + $3 } END { print sum + 0 }' /proc/interrupts
}
load poll_queues=1
same poll_queues "$(cat /sys/module/virtio_blk/parameters/poll_queues)" 1
dmesg | grep -q '1/0/1 default/read/poll queues' || fail "no message of a queue to poll"
dmesg | grep -q '1/0/0 default/read/poll queues' || fail "the disk of one queue cannot have one to poll"
same "io_poll of a disk with one queue" "$(read_attr "$(disk mq1)" io_poll)" 0
d=$(disk mq2)
same io_poll "$(read_attr "$d" io_poll)" 1
polled()
{
	fio --name=poll --filename="/dev/$d" --ioengine=io_uring --hipri=1 --direct=1 --allow_file_create=0 \
		--output=/tmp/fio.log --minimal "$@" || fail "fio: $(cat /tmp/fio.log)"
}
before=$(interrupts "$d")
polled --rw=randread --bs=4k --iodepth=8 --size=4m --io_size=2m
same "interrupts of 512 polled reads" $(($(interrupts "$d") - before)) 0
dd if="/dev/$d" of=/dev/null bs=4k count=16 iflag=direct status=none
(($(interrupts "$d") > before)) || fail "I/O that is not polled for comes without interrupts"
# More at a time than a ring or a line holds, split bios, two submitters, and others beside them.
dd if="/dev/$d" of=/dev/null bs=64k iflag=direct status=none &
polled --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 --bsrange=512-64k --iodepth=64 --numjobs=2 \
	--size=4m --offset_increment=8m
wait
polled --rw=randwrite --bs=2m --iodepth=4 --size=16m --verify=crc32c --verify_fatal=1 --do_verify=1
# The disk goes while it is polled. fio, with any driver, polls a dead disk until its time is over; it can be killed, so
# nothing is in flight.
device=$(virtio_device "$d")
fio --name=poll --filename="/dev/$d" --ioengine=io_uring --hipri=1 --direct=1 --allow_file_create=0 --rw=randread --bs=4k \
	--iodepth=32 --numjobs=2 --size=16m --time_based --runtime=60 --output=/tmp/fio.log >/tmp/fio.err 2>&1 &
load=$!
sleep 2
kill -0 $load || fail "fio ended too early: $(cat /tmp/fio.err /tmp/fio.log)"
echo "$device" >/sys/bus/virtio/drivers/virtio_blk/unbind
pkill -KILL -P $load || true
kill -KILL $load || true
wait_for 30 not_running $load || fail "fio cannot be killed: something is in flight for ever"
wait_for 30 eval '! pgrep -x fio' || fail "fio cannot be killed: something is in flight for ever"
echo "$device" >/sys/bus/virtio/drivers/virtio_blk/bind
wait_for 30 disk mq2 >/dev/null || fail "the disk did not come back"
unload
# More than there are: one stays for interrupts.
load poll_queues=100
dmesg | tail -n 40 | grep -q '1/0/1 default/read/poll queues' || fail "more queues to poll than there are: $(dmesg | tail)"
unload
