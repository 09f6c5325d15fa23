# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A unit on a block device of the host: verified, and what is discarded goes back through all layers; the same on qcow2.
why=$(host no-loop)
[[ -z $why ]] || skip "the host makes no loop device: $why"
for disk in loop:loop thin:qcow; do
	d=$(disk "${disk%:*}")
	file=${disk#*:}
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-256k --bs_unaligned=0 --numjobs=2 --size=8m \
		--offset_increment=16m
	blkdiscard "/dev/$d"
	before=$(host allocated "$file")
	# Lazily, the kernel would write inode tables for a while after the mount.
	mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "/dev/$d"
	mount "/dev/$d" /mnt
	dd if=/dev/urandom of=/mnt/file bs=1M count=32 conv=fsync status=none
	cp /mnt/file /mnt/keep
	sync -f /mnt
	sum=$(sha256sum </mnt/keep)
	written=$(host allocated "$file")
	((written - before >= 64 << 10)) || fail "64 MiB take $((written - before)) KiB of $file"
	rm /mnt/file
	sync -f /mnt
	fstrim /mnt
	after=$(host allocated "$file")
	((written - after >= 24 << 10)) || fail "fstrim of 32 MiB gave back $((written - after)) KiB of $file"
	umount /mnt
	mount "/dev/$d" /mnt
	same "the file that stays on $file" "$(sha256sum </mnt/keep)" "$sum"
	umount /mnt
done
