# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The driver's tracepoints: each command goes and comes once, with its operation; and the bpftrace scripts that use them.
[[ $MODE != c ]] || skip "the C driver has no tracepoints of its own"
t=/sys/kernel/tracing
events=$t/events/$VSR_MODULE
d=$(disk data)
device=$(basename "$(readlink -f "/sys/block/$d/device")")
[[ $device == virtio* ]] || device=$(readlink -f "/sys/block/$d/device" | grep -o 'virtio[0-9]*')
read=0x0 write=0x1
[[ $VSR_MODULE == virtio_blk ]] || read=0x28 write=0x2a
io()
{
	dd if=/dev/zero of="/dev/$d" bs=4k count=50 oflag=direct status=none
	dd if="/dev/$d" of=/dev/null bs=4k count=30 iflag=direct status=none
}
count()
{
	grep -cE "$1" $t/trace
}
echo >$t/trace
echo 4096 >$t/buffer_size_kb
echo 1 >"$events/enable"
io
echo 0 >"$events/enable"
[[ $(<"$t/trace") == *"vq_notify: $device queue="* ]] || fail "no notification of $device: $(tail -n 3 $t/trace)"
[[ $(<"$t/trace") == *"vq_interrupt: $device queue="* ]] || fail "no interrupt of $device"
for event in issue complete; do
	same "vq_$event of writes" "$(count "vq_$event: $device .*op=$write ")" 50
	same "vq_$event of reads" "$(count "vq_$event: $device .*op=$read ")" 30
done
# What the device says it wrote: the data and its status.
if [[ $VSR_MODULE == virtio_blk ]]; then
	same "used bytes of reads" "$(count "vq_complete: $device .*op=$read used=4097")" 30
fi
echo >$t/trace
io
same "events when off" "$(count 'vq_')" 0

# bpftrace reads the kernel's headers, which there are here of the distribution's kernels; and that takes its time, so once is enough.
scripts_run()
{
	[[ $(uname -r) == *deb* && ($MODE != request || $VSR_ROUNDS != 1) ]]
}
# Its words are those of a file: bpftrace knows no quotes.
printf 'dd if=/dev/zero of=/dev/%s bs=4k count=50 oflag=direct status=none\nsleep 2\n' "$d" >/tmp/job
bpf()
{
	bpftrace "$VSR_SRC/tools/bpftrace/$1.bt" -c "/bin/sh /tmp/job" >/tmp/bpf 2>&1 || fail "$1.bt: $(cat /tmp/bpf)"
}
if scripts_run; then
	bpf latency
	number=${device#virtio}
	grep -q "^@microseconds\[$number, $((write))\]" /tmp/bpf || fail "latency.bt: $(cat /tmp/bpf)"
	# All 50 are in its histogram: lines like "[256, 512)   50 |@@@@|".
	same "the writes in latency.bt" "$(sed -n "/^@microseconds\[$number, $((write))\]/,/^$/p" /tmp/bpf |
		sed -n 's/^[[(].*[])]  *\([0-9]*\) |.*/\1/p' | awk '{ sum += $1 } END { print sum }')" 50
	bpf exits
	same "the commands in exits.bt" "$(sed -n "s/^@commands\[$number\]: //p" /tmp/bpf | tail -n 1)" 50
fi

[[ $VSR_MODULE == virtio_blk ]] || {
	# That it loads and ends: the mid-layer keeps what has no room.
	! scripts_run || bpf waits
	return 0
}
# Which path a disk takes, and why. decision WRITTEN prints what the tracepoint says when that is written to io_path.
decision()
{
	local end=$((SECONDS + 60 * VSR_SLOWNESS))
	echo >$t/trace
	# Somebody may be looking at the disk.
	until echo "$1" 2>/dev/null >"/sys/block/$d/io_path"; do
		((SECONDS < end)) || fail "$1 cannot be written to io_path"
		sleep 0.05
	done
	sed -n 's/.* decision: //p' $t/trace
}
echo 100000 >/sys/module/virtio_blk/parameters/auto_time
echo 4 >/sys/module/virtio_blk/parameters/auto_reads
echo 1 >"$events/decision/enable"
echo 1 >/sys/module/virtio_blk/parameters/auto_latency
same "decision" "$(decision auto)" "$device disk=$d path=request reason=slow count=2 us=1"
same "its reason in sysfs" "$(<"/sys/block/$d/io_path_reason")" "measured: 2 of up to 4 reads took more than 1 us"
same "decision" "$(decision bio)" "$device disk=$d path=bio reason=written count=0 us=0"
same "decision that changes nothing" "$(decision bio)" "$device disk=$d path=bio reason=written count=0 us=0"
same "decision" "$(decision request)" "$device disk=$d path=request reason=written count=0 us=0"
echo 60000000 >/sys/module/virtio_blk/parameters/auto_latency
told=$(decision auto)
us=$(sed -n 's/^measured: of 4 reads three in four took \([0-9]*\) us at most$/\1/p' "/sys/block/$d/io_path_reason")
same "decision" "$told" "$device disk=$d path=bio reason=fast count=4 us=$us"
echo 0 >"$events/decision/enable"
same "decision that nobody wants to see" "$(decision request)" ""

scripts_run || return 0
# Four commands a queue, and a disk that takes 100 ms for each: in bio mode the rest stands in line, in request mode the block
# layer keeps it. (A ring of four entries would not do: QEMU gives each PCI disk a long one.)
unload
load queue_depth=4
d=$(disk slow)
device=$(virtio_device "$d")
number=${device#virtio}
counters=$(counters_of "$d")
echo 0 >"$counters"
echo "/usr/bin/fio --name=deep --filename=/dev/$d --direct=1 --rw=randread --bs=4k --ioengine=io_uring --iodepth=16" \
	"--iodepth_batch_submit=16 --number_ios=32 --allow_file_create=0 --output=/tmp/fio.log" >/tmp/job
bpf waits
waited=$(awk 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "waited") at = i } NR == 2 { print $at }' "$counters")
if [[ $MODE == bio ]]; then
	((waited > 0)) || fail "nobody waited: $(<"$counters")"
else
	same "how many waited in request mode" "$waited" 0
fi
same "who waited in waits.bt" "$(sed -n "s/^@line\[$number, 0, .*\]: //p" /tmp/bpf | awk '{ sum += $1 } END { print sum + 0 }')" "$waited"
same "the lengths in waits.bt" "$(sed -n "/^@length\[$number, 0\]/,/^$/p" /tmp/bpf |
	sed -n 's/^[[(].*[])]  *\([0-9]*\) |.*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }')" "$waited"
