# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The whole host is unbound, then pulled, under I/O with disks open and mounted, and under resets; nothing hangs, and it
# comes back.
# limit: 500
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

# Resets by ioctl of units, target and host, as long as the units are there. The C driver hangs, or worse.
resets=()
begin_resets()
{
	local name kind d
	[[ $MODE != c ]] || return 0
	for name in data data4k; do
		d=$(disk $name)
		for kind in device target host; do
			while [[ -e /sys/block/$d ]]; do
				sg_reset --no-esc --$kind "/dev/$d" || true
			done >/dev/null 2>&1 &
			resets+=($!)
		done
	done
}
end_resets()
{
	local pid
	for pid in "${resets[@]}"; do
		wait_for 90 not_running "$pid" || fail "a reset does not end after the $1"
	done
	resets=()
}
for round in $(seq $((VSR_SLOWNESS == 1 ? 5 : 40))); do
	device=$(basename "$(readlink -f "/sys/block/$(disk data)/device/../../..")")
	begin_resets
	sleep 0.$((RANDOM % 10))
	echo "$device" >$driver/unbind
	end_resets unbind
	echo "$device" >$driver/bind
	for name in data data4k resize; do
		wait_for 30 disk $name >/dev/null || fail "$name did not come back in round $round of resets"
	done
done
verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m

d=$(disk data)
mkfs.ext4 -q -F -E nodiscard "/dev/$(disk resize)"
mount "/dev/$(disk resize)" /mnt
(while echo data >>/mnt/file && sync /mnt/file; do :; done) 2>/dev/null &
writer=$!
begin_load "$d" 1
begin_resets
host unplug hba
end_load unplug
end_resets unplug
wait_for 40 not_running $writer || fail "the writer did not end after the unplug"
fails sh -c 'echo more >/mnt/more && sync /mnt/more'
umount /mnt || fail "the lost disk cannot be unmounted"
host plug-hba
host lun add data 0 0 data
wait_for 60 disk data >/dev/null || fail "the disk did not come back"
verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
