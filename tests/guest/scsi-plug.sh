# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Logical units come and go by the host's events, under I/O to another one: exactly the named one.
# limit: 600
expect_log 'Buffer I/O error|I/O error, dev sd'
gone()
{
	! disk "$1" >/dev/null 2>&1
}
d=$(disk data)
fio --name=load --filename="/dev/$d" --rw=randrw --bs=4k --direct=1 --ioengine=io_uring --iodepth=4 --size=16m \
	--rate_iops=100 --allow_file_create=0 --time_based --runtime=600 --output=/tmp/load.log &
load=$!
# there UNIT...: these units, and no other, are behind the host; a unit is TARGET:LUN as the kernel names it.
there()
{
	local found=("$host"/target*/*:*:*:*/block/*)
	found=("${found[@]%/block/*}")
	[[ $(printf '%s\n' "${found[@]##*/}" | cut -d: -f3- | sort | tr '\n' ' ') == "$* " ]]
}
host=$(readlink -f "/sys/block/$d/device/../..")
# Rounds with 6 units; 18 of them are 108 that come and go.
for i in $(seq $((6 * VSR_ROUNDS))); do
	host lun add plug0 5 0 plug0
	host lun add plug1 5 1 plug1
	host lun add plug2 6 300 plug2
	for n in 3 4 5; do
		host lun add plug$n $((n + 4)) 0 plug$n
	done
	wait_for 30 there 0:0 1:3 2:0 5:0 5:1 6:16684 7:0 8:0 9:0 || fail "round $i: not all came: $(lsscsi)"
	if ((i % 8 == 1)); then
		verify "$(disk plug1)" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=256k
	fi
	host lun del plug1
	wait_for 30 there 0:0 1:3 2:0 5:0 6:16684 7:0 8:0 9:0 || fail "round $i: not plug1 went, or not it alone: $(lsscsi)"
	for n in 2 0 5 3 4; do
		host lun del plug$n
	done
	wait_for 30 there 0:0 1:3 2:0 || fail "round $i: not all went: $(lsscsi)"
done
kill -0 $load 2>/dev/null || fail "fio ended: $(cat /tmp/load.log)"
kill -INT $load
wait $load || true
grep -q 'err= 0' /tmp/load.log || fail "I/O to another unit failed: $(cat /tmp/load.log)"

# Pulled under I/O, and while mounted.
host lun add plug0 5 0 plug0
wait_for 20 disk plug0 >/dev/null
p=$(disk plug0)
fio --name=load --filename="/dev/$p" --rw=randrw --bs=4k --direct=1 --ioengine=io_uring --iodepth=32 --size=8m \
	--allow_file_create=0 --time_based --runtime=60 --output=/tmp/load.log >/tmp/load.err 2>&1 &
load=$!
sleep 2
kill -0 $load 2>/dev/null || fail "fio ended too early: $(cat /tmp/load.err /tmp/load.log)"
host lun del plug0
wait_for 40 not_running $load || fail "fio did not end after the unit went"
wait $load && fail "fio saw no error"
wait_for 20 gone plug0 || fail "plug0 is still there"

# More at once than there are buffers for events: none is lost for good.
for i in $(seq 10 39); do
	host qmp blockdev-add driver=null-co node-name=n"$i" size=1048576
	host lun add many"$i" "$i" 0 n"$i"
done
all_there()
{
	[[ $(find /sys/block -name 'sd*' | wc -l) == "$1" ]]
}
wait_for 120 all_there 33 || fail "not all of 33 disks came: $(lsscsi)"
for i in $(seq 10 39); do
	host lun del many"$i"
done
wait_for 120 all_there 3 || fail "not all of 30 disks went: $(lsscsi)"
