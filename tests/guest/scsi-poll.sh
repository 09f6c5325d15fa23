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
	awk '/virtio.*-request/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) sum += $i } END { print sum + 0 }' /proc/interrupts
}
before=$(interrupts)
verify "$d" --direct=1 --ioengine=io_uring --hipri=1 --iodepth=16 --bs=4k --size=4m
polled=$(($(interrupts) - before))
before=$(interrupts)
verify "$d" --direct=1 --ioengine=io_uring --iodepth=1 --bs=4k --size=4m
other=$(($(interrupts) - before))
echo "interrupts: $polled polled, $other not"
((polled < other / 4)) || fail "polled I/O caused $polled interrupts, other I/O $other"
unload
# More than there are: one always interrupts.
load virtscsi_poll_queues=9
verify "$(disk data)" --direct=1 --ioengine=io_uring --hipri=1 --iodepth=4 --bs=4k --size=256k
unload
