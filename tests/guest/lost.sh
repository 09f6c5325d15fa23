# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# QEMU's own disks under I/O: the PCI function is taken away and given back (as blktests block/011 does it), the device says that
# it needs a reset, the operator resets it. Nothing fails, nothing is lost; and a removal does not wait for what is not there.
# limit: 1200
[[ $MODE != c ]] || skip "the C driver hangs"
# shellcheck source=tests/guest/pci.sh
. "$VSR_SRC/tests/guest/pci.sh"
# load_fio DISK: each block is written once, where there were zeros.
load_fio()
{
	dd if=/dev/zero of="/dev/$1" bs=1M count=24 oflag=direct conv=notrunc status=none
	fio --name=load --filename="/dev/$1" --rw=randwrite --bsrange=4k-32k --direct=1 --ioengine=io_uring --iodepth=16 --size=12m \
		--numjobs=2 --offset_increment=12m --allow_file_create=0 --fsync=64 --verify=crc32c --verify_fatal=1 --do_verify=1 \
		--rate_iops=100 --output=/tmp/load.log >/tmp/load.err 2>&1 &
	load=$!
	sleep 2
}
load_ends()
{
	wait_for 400 not_running $load || fail "$1: fio does not end: $(dmesg | tail -n 20)"
	wait $load || fail "$1: $(cat /tmp/load.err /tmp/load.log)"
}
resets()
{
	cat "/sys/block/$1/reset"
}
have_resets()
{
	(($(resets "$1") > $2))
}
for name in plain reset; do
	d=$(disk $name)
	function=$(basename "$(readlink -f "/sys/block/$d/device/..")")
	on=$(pci_command "$function")
	before=$(resets "$d")
	load_fio "$d"
	take_away "$function" "$on"
	# Again and again, at any moment of a repair.
	for _ in $(seq $((15 * VSR_ROUNDS))); do
		! not_running $load || break
		pci_command "$function" 0
		sleep 0.0$((RANDOM % 10))
		pci_command "$function" "$on"
		sleep 0.$((RANDOM % 2))$((RANDOM % 10))
	done
	load_ends "$name, taken away"
	# QEMU's device may have lost nothing but notifications, which cost no reset. The rings of `reset` are packed ones.
	echo "$name: $(($(resets "$d") - before)) resets, $(counted "$(counters_of "$d")" repaired) notifications or interrupts that got lost"
done
d=$(disk plain)
load_fio "$d"
before=$(resets "$d")
for _ in 1 2 3; do
	host needs-reset plain || fail "needs-reset"
	wait_for 60 have_resets "$d" "$before" || fail "DEVICE_NEEDS_RESET is not seen: $(dmesg | tail -n 20)"
	before=$(resets "$d")
	sleep 1
done
load_ends "DEVICE_NEEDS_RESET"
# The operator resets a device that is well.
load_fio "$d"
for _ in 1 2 3 4 5; do
	echo 1 >"/sys/block/$d/reset" || fail "the reset failed"
	sleep 0.$((RANDOM % 10))
done
load_ends "reset by the operator"
# One that is away cannot be reset; its removal ends.
function=$(basename "$(readlink -f "/sys/block/$d/device/..")")
on=$(pci_command "$function")
virtio=$(virtio_device "$d")
dmesg -C
pci_command "$function" 0
dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none &
reader=$!
wait_for 30 told 'the device is not there' || fail "no word of that: $(dmesg | tail -n 20)"
! not_running $reader || fail "the read did not wait"
(echo 1 >"/sys/block/$d/reset") 2>/dev/null && fail "a device that is not there was reset"
echo "$virtio" >/sys/bus/virtio/drivers/virtio_blk/unbind &
wait_for 90 not_running $! || fail "the removal waits for ever"
wait_for 90 not_running $reader || fail "the reader waits for ever"
fails wait $reader
pci_command "$function" "$on"
# Nobody could reset it; its bus does, when it finds it anew.
echo 1 >"/sys/bus/pci/devices/$function/remove"
echo 1 >/sys/bus/pci/rescan
wait_for 20 disk plain >/dev/null || fail "no disk after the next probe"
verify "$(disk plain)" --direct=1 --ioengine=io_uring --iodepth=8 --bs=4k --size=1m
