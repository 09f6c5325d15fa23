# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Installed under updates/, loaded by udev for the device's alias; names that stay the same whatever letter a disk gets.
# driver: manual
found()
{
	[[ $(find /sys/class/scsi_generic -type l | wc -l) == 6 ]] && settled
}
# names: how all units are known, in the order in which they were found, which is that of the generic nodes
names()
{
	local unit dir disk link
	for unit in $(find /sys/class/scsi_generic -type l -printf '%f\n' | sort -V); do
		dir=/sys/class/scsi_generic/$unit/device
		disk=$(ls "$dir/block")
		test -c "/dev/$unit" || fail "no /dev/$unit"
		link=$(basename "$(readlink -f "$dir")")
		echo "unit ${link#*:}"
		for link in /dev/disk/by-path/* /dev/disk/by-id/*; do
			[[ $(readlink -f "$link") != "/dev/$disk" ]] || echo "	$link"
		done
	done
}
wait_for 60 found || fail "not all came: $(lsscsi -g)"
[[ $MODE == c ]] || same "the module that modprobe prefers" "$(modinfo -F filename virtio_scsi | grep -c updates/)" 1
prove_driver
[[ $MODE == c ]] || told_wrong virtio_scsi virtscsi_timeouts some 0 "a number, 0 to 4294967295"
names | tee /tmp/names
same "the order of the scan" "$(sed -n 's/^unit //p' /tmp/names | tr '\n' ' ')" \
	"0:0:0 0:1:3 0:4:0 0:4:16684 0:7:0 0:9:0 "
for name in disk0-0 disk1-3 disk4-0 disk4-300 disk9-0; do
	grep -q "by-id/scsi-0QEMU_QEMU_HARDDISK_$name$" /tmp/names || fail "no by-id link for $name"
done
for unit in 0:0:0 0:1:3 0:4:0 0:4:16684 0:7:0 0:9:0; do
	grep -q "by-path/pci-0000:00:10.0-scsi-0:$unit$" /tmp/names || fail "no by-path link for $unit"
done
# A partition has them too.
partition "$(disk disk1-3)" 2048 2048
settled
same "the link to a partition" "$(readlink -f /dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_disk1-3-part1)" \
	"/dev/$(disk disk1-3)1"
same "what is on the CD" "$(dd if=/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:7:0 bs=2048 count=1 status=none |
	head -c 8)" discdisc
verify "$(disk disk4-300)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
# Found again, all is as it was.
unload
modprobe virtio_scsi
wait_for 60 found || fail "not all came again: $(lsscsi -g)"
prove_driver
names | grep -v part1 >/tmp/names.again
diff /tmp/names /tmp/names.again || fail "the names are not the same after a reload"
unload
