# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# One, two and more queues than CPUs; the parameters that limit queues and their depth.
# driver: manual
# limit: 400
# hw_queues DISK: as request mode shows them
hw_queues()
{
	find "/sys/block/$1/mq" -mindepth 1 -maxdepth 1 -type d | wc -l
}
# interrupts DISK: vectors of the disk's request queues
vectors()
{
	grep -cE "$(virtio_device "$1")-req" /proc/interrupts
}
load
for n in 1 2 8; do
	d=$(disk mq$n)
	want=$((n < VSR_CPUS ? n : VSR_CPUS))
	[[ $MODE == bio ]] || same "queues of mq$n" "$(hw_queues "$d")" $want
	same "interrupt vectors of mq$n" "$(vectors "$d")" $want
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=2m --numjobs=4 --offset_increment=8m
done
# Each CPU's I/O goes to one queue, and not to that of the other CPU.
d=$(disk mq2)
interrupts()
{
	awk -v name="$(virtio_device "$d")-req.$1" '$NF == name { print $2 + $3 }' /proc/interrupts
}
used=""
for cpu in 0 1; do
	zero=$(interrupts 0) one=$(interrupts 1)
	taskset -c $cpu dd if="/dev/$d" of=/dev/null bs=4k count=32 iflag=direct status=none
	zero=$(($(interrupts 0) - zero)) one=$(($(interrupts 1) - one))
	((zero + one >= 8 && (zero == 0 || one == 0))) ||
		fail "32 reads on CPU $cpu: $zero interrupts of queue 0, $one of queue 1: $(grep -- -req /proc/interrupts)"
	used+=" $((one > 0))"
done
[[ $used == " 0 1" || $used == " 1 0" ]] || fail "both CPUs use the same queue:$used"
unload
load num_request_queues=1
same num_request_queues "$(cat /sys/module/virtio_blk/parameters/num_request_queues)" 1
for n in 2 8; do
	d=$(disk mq$n)
	[[ $MODE == bio ]] || same "queues of mq$n with num_request_queues=1" "$(hw_queues "$d")" 1
	same "vectors of mq$n with num_request_queues=1" "$(vectors "$d")" 1
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=1m --numjobs=2 --offset_increment=8m
done
unload
load queue_depth=8
same queue_depth "$(cat /sys/module/virtio_blk/parameters/queue_depth)" 8
d=$(disk mq2)
[[ $MODE == bio ]] || same "nr_requests with queue_depth=8" "$(read_attr "$d" nr_requests)" 8
verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bs=4k --size=2m --numjobs=2 --offset_increment=8m
unload
