# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# QEMU's own SCSI host under I/O: the PCI function is taken away and given back (as blktests block/011 does it), the operator resets
# it, the device says that it needs a reset. Nothing fails, nothing is lost, no medium seems to have changed; and a removal does not
# wait for what is not there.
# limit: 900
[[ $MODE != c ]] || skip "the C driver hangs"
# The kernel warns when it unbinds a device whose status is all ones.
expect_log 'I/O error, dev sd|Buffer I/O error|Synchronize Cache|offline error, dev sd|virtio_dev_remove|Call Trace'
# shellcheck source=tests/guest/pci.sh
. "$VSR_SRC/tests/guest/pci.sh"
# load_fio: on both disks of the host. Each block is written once, where there were zeros.
load_fio()
{
	local disk jobs=()
	for disk in "$d" "$other"; do
		dd if=/dev/zero of="/dev/$disk" bs=1M count=16 oflag=direct conv=notrunc status=none
		jobs+=(--name="$disk" --filename="/dev/$disk" --rw=randwrite --bsrange=4k-32k --direct=1 --ioengine=io_uring --iodepth=16
			--size=16m --allow_file_create=0 --fsync=64 --verify=crc32c --verify_fatal=1 --do_verify=1
			--rate_iops=100)
	done
	fio --output=/tmp/load.log "${jobs[@]}" >/tmp/load.err 2>&1 &
	load=$!
	sleep 2
}
load_ends()
{
	wait_for 400 not_running $load || fail "$1: fio does not end: $(dmesg | tail -n 20)"
	wait $load || fail "$1: $(cat /tmp/load.err /tmp/load.log)"
	if dmesg | grep -E 'I/O error, dev sd|offline'; then
		fail "$1: an error: $(dmesg | tail -n 20)"
	fi
}
resets()
{
	dmesg | grep -c 'resetting the device' || true
}
have_resets()
{
	(($(resets) > $1))
}
d=$(disk data)
other=$(disk second)
host=$(basename "$(readlink -f "/sys/block/$d/device/../..")")
virtio=$(basename "$(readlink -f "/sys/block/$d/device/../../..")")
function=$(basename "$(readlink -f "/sys/bus/virtio/devices/$virtio/..")")
on=$(pci_command "$function")
dmesg -C
load_fio
take_away "$function" "$on"
load_ends "taken away"
# QEMU's device may have lost nothing but notifications, which cost no reset.
echo "$(resets) resets"
# Who has a medium open that could be changed: it was not.
modprobe sr_mod
wait_for 30 test -b /dev/sr0 || fail "no CD: $(lsscsi)"
exec 5</dev/sr0
dd of=/dev/null bs=2048 count=1 iflag=direct status=none <&5 || fail "the CD cannot be read"
load_fio
for _ in 1 2 3; do
	echo adapter >"/sys/class/scsi_host/$host/host_reset" || fail "the reset failed"
	sleep 1
	dd of=/dev/null bs=2048 count=1 iflag=direct status=none <&5 || fail "the reset changed the medium: $(dmesg | tail)"
done
exec 5<&-
load_ends "reset by the operator"
# The device says that it needs a reset, while it has nothing else to do: it gets one at once, and the event that it choked on is
# made up for.
dmesg -C
host needs-reset hba 1 next || fail "needs-reset"
host lun add new 9 0 data-new
wait_for 60 disk new >/dev/null || fail "DEVICE_NEEDS_RESET is not seen: $(dmesg | tail)"
told 'resetting the device, since it works no more' || fail "the unit came without a reset: $(dmesg | tail)"
# Events work after it.
gone()
{
	! disk new >/dev/null 2>&1
}
host lun del new
wait_for 60 gone || fail "a unit that went after the resets was not missed: $(dmesg | tail)"
# One that is away is waited for; its removal ends.
dmesg -C
pci_command "$function" 0
dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none &
reader=$!
wait_for 30 told 'the device is not there' || fail "no word of that: $(dmesg | tail -n 20)"
! not_running $reader || fail "the read did not wait"
echo "$virtio" >/sys/bus/virtio/drivers/virtio_scsi/unbind &
wait_for 90 not_running $! || fail "the removal waits for ever"
wait_for 90 not_running $reader || fail "the reader waits for ever"
fails wait $reader
pci_command "$function" "$on"
# Nobody could reset it; its bus does, when it finds it anew.
echo 1 >"/sys/bus/pci/devices/$function/remove"
echo 1 >/sys/bus/pci/rescan
wait_for 30 disk data >/dev/null || fail "no disk after the next probe"
verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=8 --bs=4k --size=1m
