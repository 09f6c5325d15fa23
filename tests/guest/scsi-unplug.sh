# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The whole host is unbound, then pulled, under I/O with disks open and mounted; nothing hangs, and it comes back.
# limit: 400
expect_log 'Buffer I/O error|I/O error, dev sd|EXT4-fs|JBD2|Synchronize Cache'
driver=/sys/bus/virtio/drivers/virtio_scsi
begin_load()
{
	fio --name=load --filename="/dev/$1" --rw=randrw --bsrange=512-64k --direct="$2" --ioengine=io_uring --iodepth=32 \
		--numjobs=2 --size=16m --allow_file_create=0 --time_based --runtime=60 --output=/tmp/load.log >/tmp/load.err 2>&1 &
	load=$!
	sleep 2
	kill -0 $load 2>/dev/null || fail "fio ended too early: $(cat /tmp/load.err /tmp/load.log)"
}
end_load()
{
	wait_for 60 not_running $load || fail "fio did not end after the $1"
	wait $load && fail "fio saw no error"
	true
}
for round in 1 2 3; do
	d=$(disk data)
	device=$(basename "$(readlink -f "/sys/block/$d/device/../../..")")
	exec 7<>"/dev/$d"
	begin_load "$d" $((round % 2))
	echo "$device" >$driver/unbind
	end_load unbind
	fails dd of=/dev/fd/7 if=/dev/zero bs=4k count=1 conv=fsync,notrunc status=none
	echo "$device" >$driver/bind
	wait_for 30 disk data >/dev/null || fail "the disk did not come back"
	prove_driver
	verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
	exec 7>&-
done
d=$(disk data)
mkfs.ext4 -q -F -E nodiscard "/dev/$(disk resize)"
mount "/dev/$(disk resize)" /mnt
(while echo data >>/mnt/file && sync /mnt/file; do :; done) 2>/dev/null &
writer=$!
begin_load "$d" 1
host unplug hba
end_load unplug
wait_for 40 not_running $writer || fail "the writer did not end after the unplug"
fails sh -c 'echo more >/mnt/more && sync /mnt/more'
umount /mnt || fail "the lost disk cannot be unmounted"
host plug-hba
host lun add data 0 0 data
wait_for 60 disk data >/dev/null || fail "the disk did not come back"
verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
