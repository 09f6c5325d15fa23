# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Writes to one zone, in order, by turns from two CPUs, each of which has a queue: they get to the device in order.
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
blkdev_start order '"capacity": 65536, "queues": 2, "zones": {"size": 8192, "granularity": 4096}'
device=$!
wait_for 10 disk order >/dev/null || skip "the driver has no zones"
d=$(disk order)
for round in 0 1 2 3; do
	# The device sleeps until all are submitted; it would look into its queues one after the other.
	python3 "$VSR_SRC/tests/guest/zone-order.py" "/dev/$d" $((round * 8192 * 512)) 48 $device ||
		fail "round $round: writes that were in order"
done
not_logged order ' op=write .* status=[1-9n]'
# Only the block layer's requests have zone write plugs.
[[ $MODE == c ]] || same io_path "$(<"/sys/block/$d/io_path")" request
blkdev_stop order
