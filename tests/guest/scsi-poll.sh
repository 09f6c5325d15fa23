# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A polled queue: I/O by io_uring's polling is found without an interrupt, and right; other I/O does not use it.
# driver: manual
# limit: 200
load virtscsi_poll_queues=1
dmesg | grep 'default/read/poll' | tail -n 1 | grep -q '1/0/1' || fail "the queues: $(dmesg | grep default/read/poll)"
same virtscsi_poll_queues "$(cat /sys/module/virtio_scsi/parameters/virtscsi_poll_queues)" 1
d=$(disk data)
same io_poll "$(read_attr "$d" io_poll)" 1
if grep -q request_poll /proc/interrupts; then
	fail "a polled queue has an interrupt"
fi
interrupts()
{
	awk '/virtio[0-9]*-request$/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' /proc/interrupts
}
verify "$d" --direct=1 --ioengine=io_uring --hipri=1 --iodepth=16 --bs=4k --size=1m
before=$(interrupts)
fio --name=poll --filename="/dev/$d" --rw=randread --bs=4k --direct=1 --ioengine=io_uring --hipri=1 --iodepth=8 --size=4m \
	--io_size=2m --allow_file_create=0 --output=/tmp/fio.log || fail "fio: $(cat /tmp/fio.log)"
same "interrupts of 512 polled reads" $(($(interrupts) - before)) 0
dd if="/dev/$d" of=/dev/null bs=4k count=16 iflag=direct status=none
(($(interrupts) > before)) || fail "I/O that is not polled for comes without interrupts"
unload
# More than there are: one always interrupts.
load virtscsi_poll_queues=9
verify "$(disk data)" --direct=1 --ioengine=io_uring --hipri=1 --iodepth=4 --bs=4k --size=256k
unload
