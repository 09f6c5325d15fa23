# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The disk is pulled under load and comes back; then it is pulled while mounted. I/O ends in errors, nothing hangs.
# limit: 400
expect_log 'EXT4-fs|JBD2|Buffer I/O error|I/O error, dev vd'
d=$(disk plug)
for round in 1 2 3; do
	fio --name=load --filename="/dev/$d" --rw=randrw --bsrange=512-64k --direct=$((round % 2)) --ioengine=io_uring \
		--iodepth=32 --numjobs=2 --size=32m --allow_file_create=0 --time_based --runtime=60 --output=/tmp/load.log >/tmp/load.err 2>&1 &
	load=$!
	sleep 2
	kill -0 $load 2>/dev/null || fail "fio ended too early: $(cat /tmp/load.err /tmp/load.log)"
	host unplug plug
	wait_for 40 not_running $load || fail "fio did not end after the unplug"
	wait $load && fail "fio saw no error"
	fails test -e "/sys/block/$d/dev"
	host plug plug
	wait_for 30 disk plug >/dev/null || fail "the disk did not come back"
	d=$(disk plug)
	prove_driver
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
done

mkfs.ext4 -q -F -E nodiscard "/dev/$d"
mount "/dev/$d" /mnt
(while echo data >>/mnt/file && sync /mnt/file; do :; done) 2>/dev/null &
writer=$!
sleep 1
host unplug plug
wait_for 40 not_running $writer || fail "the writer did not end after the unplug"
fails sh -c 'echo more >/mnt/more && sync /mnt/more'
umount /mnt || fail "the lost disk cannot be unmounted"
host plug plug
wait_for 30 disk plug >/dev/null || fail "the disk did not come back after the unmount"
d=$(disk plug)
e2fsck -f -p "/dev/$d" >/tmp/fsck.log 2>&1 || (($? == 1)) || fail "e2fsck: $(cat /tmp/fsck.log)"
