# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# /proc/diskstats counts every I/O: number, sectors, time, and nothing left in flight.
d=$(disk data)
counts()
{
	awk -v d="$d" '$3 == d { print $4, $6, $8, $10, $12 }' /proc/diskstats
}
read -r r0 rs0 w0 ws0 _ < <(counts)
dd if=/dev/zero of="/dev/$d" bs=4k count=50 oflag=direct status=none
dd if="/dev/$d" of=/dev/null bs=8k count=30 iflag=direct status=none
read -r r1 rs1 w1 ws1 inflight < <(counts)
same "the count of writes" $((w1 - w0)) 50
same "the count of written sectors" $((ws1 - ws0)) 400
same "the count of reads" $((r1 - r0)) 30
same "the count of read sectors" $((rs1 - rs0)) 480
same "the count of I/Os in flight" "$inflight" 0
# Not if it is not to, nor does what was in flight at the change count half.
echo 0 >"/sys/block/$d/queue/iostats"
read -r r0 _ w0 _ < <(counts)
dd if=/dev/zero of="/dev/$d" bs=4k count=50 oflag=direct status=none
dd if="/dev/$d" of=/dev/null bs=8k count=30 iflag=direct status=none
read -r r1 _ w1 _ < <(counts)
same "what counts with iostats=0" "$((r1 - r0)) $((w1 - w0))" "0 0"
slow=$(disk slow)
for from in 0 1; do
	echo $from >"/sys/block/$slow/queue/iostats"
	dd if="/dev/$slow" of=/dev/null bs=4k count=20 iflag=direct status=none &
	sleep 0.5
	echo $((1 - from)) >"/sys/block/$slow/queue/iostats"
	wait $!
	same "what is in flight after a change from $from" "$(awk -v d="$slow" '$3 == d { print $12 }' /proc/diskstats)" 0
done
echo 1 >"/sys/block/$d/queue/iostats"
echo 1 >"/sys/block/$slow/queue/iostats"
# A flush command counts by itself, and who asks for it as a write of nothing.
flushes()
{
	awk -v d="$d" '$3 == d { print $19 }' /proc/diskstats
}
f0=$(flushes)
read -r _ _ w0 ws0 _ < <(counts)
for _ in $(seq 20); do
	dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc,fsync status=none
done
same "the count of flushes" $(($(flushes) - f0)) 20
read -r _ _ w1 ws1 inflight < <(counts)
same "the count of writes, and of who asks for a flush" $((w1 - w0)) 40
same "the count of sectors that they wrote" $((ws1 - ws0)) 160
same "the count of I/Os in flight" "$inflight" 0
# All who ask at the same time count, whoever's flush serves them.
read -r _ _ w0 _ < <(counts)
python3 - "/dev/$d" <<'P' || fail "fsyncs of eight threads"
import os, sys, threading
def work():
    fd = os.open(sys.argv[1], os.O_RDWR)
    for _ in range(20):
        os.fsync(fd)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
P
read -r _ _ w1 _ inflight < <(counts)
same "the count of 160 fsyncs" $((w1 - w0)) 160
same "the count of I/Os in flight after them" "$inflight" 0
# Time in I/O is counted while a slow disk works.
d=$(disk slow)
t0=$(awk -v d="$d" '$3 == d { print $13 }' /proc/diskstats)
dd if="/dev/$d" of=/dev/null bs=4k count=8 iflag=direct status=none
t1=$(awk -v d="$d" '$3 == d { print $13 }' /proc/diskstats)
((t1 - t0 > 300)) || fail "8 reads at 10 a second count as $((t1 - t0)) ms of I/O"
