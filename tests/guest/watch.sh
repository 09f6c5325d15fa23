# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A lost interrupt and a lost notification, of a request, a bio or a SCSI command, in a burst of them, of a polled queue, and by
# VDUSE: found and mended within seconds, counted, told; an idle disk is not looked at.
# limit: 600
[[ $MODE != c ]] || skip "the C driver waits for ever"
case $MODE in
scsi) name=own at="lba=8192" latency=0 order=fifo ;;
*) name=random at="sector=8192" latency=4 order=random ;;
esac
d=$(disk $name) || fail "no disk $name"
# device COMMAND...: to the device of $name, on the host or in this guest
device()
{
	host blkdev "$name" "$@"
}
dd if=/dev/urandom of=/tmp/data bs=4k count=1 status=none
dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none
read_back()
{
	if [[ -n ${polled:-} ]]; then
		timeout $((20 * VSR_SLOWNESS)) fio --name=polled --filename="/dev/$d" --rw=read --direct=1 --ioengine=io_uring --hipri=1 \
			--bs=4k --offset=4m --size=4k --number_ios=1 --allow_file_create=0 --output=/tmp/polled.log
		return
	fi
	cmp -n 4096 /tmp/data <(timeout $((20 * VSR_SLOWNESS)) dd if="/dev/$d" bs=4k skip=1024 count=1 iflag=direct status=none)
}
# mended WHAT MESSAGE COMMAND...: a read during this fault ends long before 30 s, and a message says why. A command that
# comes by chance at the right time may help it, unnoticed; and as long as something is watched, the event queue is notified now and
# then, which may be what the device does not hear. Not each time, and not where there was a pause.
mended()
{
	local what=$1 message=$2 begin pause
	shift 2
	dmesg -C
	for pause in 0 0 2 4 8 16; do
		sleep $pause
		device "$@" || fail "$*"
		begin=$(date +%s%N)
		read_back || fail "$what: the read did not end: $(dmesg)"
		echo "$what: $((($(date +%s%N) - begin) / 1000000)) ms"
		device clear
		device deaf 0
		! dmesg | grep "$message" || return 0
	done
	fail "$what: no word of it: $(dmesg)"
}
mended "a lost interrupt" 'done without an interrupt: it got lost (1 times)' fault "op=read $at noirq"
mended "a lost notification" 'a notification got lost (1 times)' deaf 1
if [[ $MODE != scsi ]]; then
	repaired=$(counted "$(counters_of "$d")" repaired)
	((repaired >= 2)) || fail "the counters know of $repaired repairs"
fi
# All of a burst: 64 reads at once, 8 of them without interrupts, twice the device does not listen.
host blkdev $name fault "op=read noirq skip=20 count=8"
fio --name=burst --filename="/dev/$d" --rw=randread --direct=1 --ioengine=io_uring --iodepth=64 --bs=4k --number_ios=64 \
	--size=8m --allow_file_create=0 --output=/tmp/burst.log &
host blkdev $name deaf 2
wait_for 40 not_running $! || fail "a burst with lost interrupts did not end: $(dmesg)"
wait $! || fail "a burst with lost interrupts failed: $(cat /tmp/burst.log)"
host blkdev $name clear
host blkdev $name deaf 0
# Nothing in flight, no looks: one more may come, then none. The debug kernel has no kprobes.
tracing=/sys/kernel/tracing
mountpoint -q $tracing || mount -t tracefs tracefs $tracing
if [[ -e $tracing/kprobe_events ]]; then
	sleep 4
	echo 'p:look storage_watch_start' >$tracing/kprobe_events 2>/dev/null ||
		echo 'p:look rust_helper_storage_watch_start' >$tracing/kprobe_events || fail "no probe"
	echo 1 >$tracing/events/kprobes/look/enable
	sleep 5
	echo 0 >$tracing/events/kprobes/look/enable
	same "looks at an idle disk" "$(awk '$1 == "look" { print $2 }' $tracing/kprobe_profile)" 0
	# The probe counts at all: with I/O there are looks.
	echo 1 >$tracing/events/kprobes/look/enable
	read_back || fail "a read"
	sleep 2
	echo 0 >$tracing/events/kprobes/look/enable
	[[ $(awk '$1 == "look" { print $2 }' $tracing/kprobe_profile) -gt 0 ]] || fail "no look at a busy disk"
	: >$tracing/kprobe_events
else
	[[ $VSR_SLOWNESS != 1 ]] || fail "no kprobes"
fi
# A slow device is told of, once its command is late; one command that waits is seen among many that do not.
dmesg -C
host blkdev $name fault "op=read $at drop"
taskset -c 0 dd if="/dev/$d" of=/dev/null bs=4k skip=1024 count=1 iflag=direct status=none &
slow=$!
sleep 1
fio --name=busy --filename="/dev/$d" --rw=randread --direct=1 --ioengine=io_uring --iodepth=4 --bs=4k --size=2m --rate_iops=200 \
	--time_based --runtime=8 --allow_file_create=0 --output=/tmp/busy.log || fail "I/O beside a slow command: $(cat /tmp/busy.log)"
# Now and then one on its queue that the device answers: also just after the watch has notified it, which is not why.
for _ in $(seq 24); do
	taskset -c 0 dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "I/O beside a slow command"
	sleep 0.87
done
expect_slow()
{
	dmesg | grep -E 'slow storage: 1 commands wait for the host.s answer, the oldest for [0-9]+ s'
}
wait_for 20 expect_slow || fail "no word of the slow command: $(dmesg)"
! dmesg | grep 'got lost' || fail "something that got lost"
host blkdev $name release
wait_for 20 not_running $slow || fail "the slow read does not end"
wait $slow || fail "the slow read failed"
expect_ended()
{
	dmesg | grep -E 'the commands that were late for [0-9]+ s or longer have ended'
}
wait_for 20 expect_ended || fail "no word of its end: $(dmesg)"
# Each answer comes just after the first look at a queue that stands still. The device says that it has taken all, so no
# notification got lost.
dmesg -C
host blkdev $name order fifo
host blkdev $name latency 950
for _ in $(seq 3); do
	dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "a read from slow storage"
	sleep 1.5
done
host blkdev $name latency $latency
host blkdev $name order $order
! dmesg | grep 'got lost' || fail "slow storage is not deaf"
# A queue that is polled has no interrupts, but notifications; and what nobody polls for ends as well. The same by VDUSE.
case $MODE in
scsi)
	parameter=virtio_scsi/parameters/virtscsi_poll_queues
	virtio=$(basename "$(readlink -f "/sys/block/$d/device/../../..")")
	;;
*)
	parameter=virtio_blk/parameters/poll_queues
	virtio=$(virtio_device "$d")
	;;
esac
echo 1 >/sys/module/$parameter
echo "$virtio" >"/sys/bus/virtio/drivers/$VSR_MODULE/unbind"
echo "$virtio" >"/sys/bus/virtio/drivers/$VSR_MODULE/bind"
nobody_waits()
{
	[[ $(xargs <"/sys/block/$d/inflight") == "0 0" ]]
}
all_wait()
{
	(($(awk '{ print $1 + $2 }' "/sys/block/$d/inflight") >= 8))
}
wait_for 30 disk $name >/dev/null || fail "the disk did not come back"
d=$(disk $name)
same "io_poll of $name" "$(read_attr "$d" io_poll)" 1
polled=1
lost="a lost notification of a queue that is polled"
mended "$lost" 'a notification got lost (' deaf 1
# Who polls is stopped, and the device answers. It has more to read than it can for as long as is waited for it, until the device is
# fast again.
device latency 1000
fio --name=stopped --filename="/dev/$d" --rw=randread --direct=1 --ioengine=io_uring --hipri=1 --iodepth=8 --bs=4k --size=8m \
	--number_ios=2000 --allow_file_create=0 --thread --output=/tmp/stopped.log &
wait_for 40 all_wait || fail "no polled reads are in flight"
kill -STOP $!
wait_for 20 nobody_waits || fail "what nobody polls for does not end: $(<"/sys/block/$d/inflight"), $(dmesg)"
device latency $latency
kill -CONT $!
wait_for 200 not_running $! || fail "who polled and was stopped does not end"
wait $! || fail "polled reads failed: $(cat /tmp/stopped.log)"
if [[ $MODE != scsi ]]; then
	# shellcheck source=tests/guest/blkdev.sh
	. "$VSR_SRC/tests/guest/blkdev.sh"
	device()
	{
		blkdev "$name" "$@"
	}
	name=by-vduse
	blkdev_start $name '"queues": 2, "latency_ms": 4'
	wait_for 30 disk $name >/dev/null || fail "no disk $name"
	d=$(disk $name)
	same "io_poll of $name" "$(read_attr "$d" io_poll)" 1
	dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none
	polled=
	mended "a lost interrupt by VDUSE" 'done without an interrupt: it got lost (' fault "op=read $at noirq"
	mended "a lost notification by VDUSE" 'a notification got lost (' deaf 1
	polled=1
	mended "$lost, by VDUSE" 'a notification got lost (' deaf 1
	blkdev_stop $name
fi
echo 0 >/sys/module/$parameter
