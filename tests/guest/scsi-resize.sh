# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Online resize, larger and smaller, under I/O: size and uevent.
d=$(disk resize)
# What an earlier case's hotplug left to be told is told now.
dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none
dmesg -C
fio --name=load --filename="/dev/$d" --rw=randrw --bs=4k --direct=1 --ioengine=io_uring --iodepth=4 \
	--size=32m --allow_file_create=0 --time_based --runtime=15 --output=/tmp/load.log &
load=$!
for size in $((96 << 20)) $((128 << 20)) $((64 << 20)); do
	udevadm monitor --kernel --property >/tmp/uevents &
	monitor=$!
	wait_for 20 grep -q 'kernel uevent' /tmp/uevents || fail "udevadm monitor does not start"
	host qmp block_resize node-name=resize size=$size
	wait_for 20 has_size "$d" $size || fail "the size is $(blockdev --getsize64 "/dev/$d") bytes, not $size"
	wait_for 10 grep -q RESIZE=1 /tmp/uevents || fail "no uevent: $(cat /tmp/uevents)"
	kill $monitor
	dd if="/dev/$d" of=/dev/null bs=4k count=1 skip=$((size / 4096 - 1)) iflag=direct status=none
done
wait $load || fail "I/O failed during the resize: $(cat /tmp/load.log)"
if dmesg | grep -q 'LUN assignments'; then
	fail "noise: $(dmesg | grep 'LUN assignments')"
fi
