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

# Its words are those of a file: bpftrace knows no quotes.
printf 'dd if=/dev/zero of=/dev/%s bs=4k count=50 oflag=direct status=none\nsleep 2\n' "$d" >/tmp/job
bpf()
{
	bpftrace "$VSR_SRC/tools/bpftrace/$1.bt" -c "/bin/sh /tmp/job" >/tmp/bpf 2>&1 || fail "$1.bt: $(cat /tmp/bpf)"
}
bpf latency
number=${device#virtio}
grep -q "^@microseconds\[$number, $((write))\]" /tmp/bpf || fail "latency.bt: $(cat /tmp/bpf)"
# All 50 are in its histogram: lines like "[256, 512)   50 |@@@@|".
same "the writes in latency.bt" "$(sed -n "/^@microseconds\[$number, $((write))\]/,/^$/p" /tmp/bpf |
	sed -n 's/^[[(].*[])]  *\([0-9]*\) |.*/\1/p' | awk '{ sum += $1 } END { print sum }')" 50
bpf exits
same "the commands in exits.bt" "$(sed -n "s/^@commands\[$number\]: //p" /tmp/bpf | tail -n 1)" 50

# That it loads and ends; nothing waits here.
bpf waits
