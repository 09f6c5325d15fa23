# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# scsi-block and scsi-generic on units of an iSCSI target, which then stops answering for a while: nothing is lost.
# limit: 300
expect_log 'I/O error, dev sd'
for name in block generic; do
	d=$(disk $name)
	sg_inq "/dev/$d" | grep -q 'Vendor identification: IET' || fail "$name: not the target's own answer: $(sg_inq "/dev/$d")"
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-128k --bs_unaligned=0 --numjobs=2 --size=4m \
		--offset_increment=8m
	mkfs.ext4 -q -F -E nodiscard "/dev/$d"
	mount "/dev/$d" /mnt
	dd if=/dev/urandom of=/mnt/file bs=1M count=8 conv=fsync status=none
	sum=$(sha256sum </mnt/file)
	umount /mnt
	mount "/dev/$d" /mnt
	same "the file on $name" "$(sha256sum </mnt/file)" "$sum"
	umount /mnt
done
# Longer than a command's time and less than after what QEMU gives the target up: what is timed out is sent again.
loads=()
for name in block generic; do
	d=$(disk $name)
	echo 4 >"/sys/block/$d/device/timeout"
	fio --name=load --filename="/dev/$d" --rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1 --direct=1 \
		--ioengine=io_uring --iodepth=8 --bs=4k --size=8m --rate_iops=150 --allow_file_create=0 \
		--output="/tmp/load.$name" &
	loads+=($!)
done
sleep 3
host pause-target 12
for load in "${loads[@]}"; do
	wait_for 400 not_running "$load" || fail "I/O does not go on: $(dmesg | tail -n 20)"
	wait "$load" || fail "I/O failed: $(cat /tmp/load.*) $(dmesg | tail -n 20)"
done
dmesg | grep -E 'virtio_scsi|sd ' | tail -n 12
for name in block generic; do
	d=$(disk $name)
	same "the state of $name" "$(<"/sys/block/$d/device/state")" running
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=512k
done
