# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# CPUs go and come under I/O: what is in flight on a CPU's queue ends although its CPU is away.
# limit: 300
d=$(disk mq2)
cpu=/sys/devices/system/cpu/cpu1/online
fio --name=load --filename="/dev/$d" --rw=randrw --bsrange=4k-64k --direct=1 --ioengine=libaio --iodepth=16 --numjobs=2 \
	--size=32m --allow_file_create=0 --time_based --runtime=12 --output=/tmp/load.log >/tmp/load.err 2>&1 &
load=$!
for _ in 1 2 3 4; do
	sleep 1
	echo 0 >$cpu
	# The other CPU's queue has to work too.
	dd if="/dev/$d" of=/dev/null bs=4k count=8 iflag=direct status=none
	sleep 1
	echo 1 >$cpu
done
wait_for 60 not_running $load || fail "fio hangs"
wait $load || fail "I/O failed: $(cat /tmp/load.err /tmp/load.log)"
# A queue whose CPU is away at the start, too.
echo 0 >$cpu
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=1m
echo 1 >$cpu
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=1m --numjobs=2 --offset_increment=8m
