# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The program behind a vhost-user disk (qemu-storage-daemon) is killed under I/O and started again: QEMU connects anew, the
# rings go on from where they were, nothing fails, nothing is lost.
# limit: 400
d=$(basename /sys/block/vd*)
[[ -b /dev/$d ]] || fail "no disk: $(dmesg | grep virtio_blk)"
in_flight()
{
	local reads writes
	read -r reads writes <"/sys/block/$d/inflight"
	((reads + writes >= 8))
}
ended()
{
	awk '{ print $1 + $5 }' "/sys/block/$d/stat"
}
goes_on()
{
	(($(ended) > $1))
}
# At 200 I/Os a second (the debug kernel: 40): still at work after three rounds, however long these take on a busy machine.
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=8m &
load=$!
for round in 1 2 3; do
	wait_for 30 in_flight || fail "round $round: in flight are $(<"/sys/block/$d/inflight")"
	host daemon kill
	before=$(ended)
	sleep 1
	begin=${EPOCHREALTIME/./}
	host daemon start
	wait_for 60 goes_on "$((before + 16))" || fail "round $round: the I/O does not go on: $(dmesg | tail)"
	echo "goes on after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
	sleep 1
	kill -0 $load 2>/dev/null || fail "round $round: there is no more I/O"
done
wait_for 400 not_running $load || fail "the I/O does not end"
wait $load
if dmesg | grep -E 'I/O error|reset'; then
	fail "something failed, or was reset"
fi
