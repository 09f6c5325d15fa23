# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The process behind a vhost-user disk loses its connection under I/O, and comes back: nothing is lost.
d=$(disk reconnect)
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=512-32k --size=16m --numjobs=2 --offset_increment=24m \
	--rate_iops=400 --runtime=12 &
load=$!
for _ in 1 2 3; do
	sleep 3
	host blkdev reconnect disconnect || fail "not connected"
done
sleep 1
host blkdev reconnect state
wait_for 60 not_running $load || fail "the I/O does not end"
wait $load
log=$(host blkdev reconnect log)
! grep ' status=[1-9n]' "$log" || fail "the device refused a request"
