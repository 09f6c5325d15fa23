# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# One CPU is isolated (isolcpus, nohz_full). It submits I/O; the watch looks from another one, to which interrupts go that have
# the choice.
tracing=/sys/kernel/tracing
mountpoint -q $tracing || mount -t tracefs tracefs $tracing
[[ -e /sys/devices/system/cpu/nohz_full && -d $tracing/events/workqueue ]] || skip "this kernel isolates no CPUs, or does not tell"
same "the isolated CPUs" "$(</sys/devices/system/cpu/isolated)" 1
same "the CPUs without a tick" "$(</sys/devices/system/cpu/nohz_full)" 1
d=$(disk slow)
# interrupts CPU: how many of the disk's queue it has had
interrupts()
{
	awk -v name="$(virtio_device "$d")-req.0" -v cpu="$1" '$NF == name { print $(2 + cpu) }' /proc/interrupts
}
# looks CPU: how often the watch looked there
looks()
{
	grep -c "\[00$1\].*workqueue_execute_start.*5Watch3run" /tmp/trace || true
}
# Ten a second: the watch, which begins with the first, comes again and again.
before=("$(interrupts 0)" "$(interrupts 1)")
echo >$tracing/trace
echo 1 >$tracing/events/workqueue/workqueue_execute_start/enable
taskset -c 1 dd if="/dev/$d" of=/dev/null bs=4k count=40 iflag=direct status=none || fail "reads from the isolated CPU"
echo 0 >$tracing/events/workqueue/workqueue_execute_start/enable
cat $tracing/trace >/tmp/trace
after=("$(interrupts 0)" "$(interrupts 1)")
echo "looks: $(looks 0), and $(looks 1) from the isolated CPU; $((after[0] - before[0])) interrupts"
same "interrupts of the isolated CPU" $((after[1] - before[1])) 0
((after[0] - before[0] > 0)) || fail "no interrupts of the other CPU"
same "looks from the isolated CPU" "$(looks 1)" 0
[[ $MODE == c ]] || (($(looks 0) > 0)) || fail "no looks from the other CPU in four seconds"
