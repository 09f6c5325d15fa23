# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# ext4 and xfs: files with fsync survive an unmount and a cold cache; fsck finds nothing.
# limit: 400
d=$(disk data)
for fs in ext4 xfs; do
	case $fs in
	ext4) mkfs.ext4 -q -F -E nodiscard "/dev/$d" && check="e2fsck -f -n" ;;
	xfs) mkfs.xfs -q -f -K "/dev/$d" && check="xfs_repair -n" ;;
	esac
	mount -t $fs "/dev/$d" /mnt
	for i in $(seq 40); do
		head -c $((RANDOM * 8 + i)) /dev/urandom >"/mnt/$i"
		((i % 4)) || sync "/mnt/$i"
	done
	(cd /mnt && md5sum -- [0-9]* >/tmp/sums)
	rm /mnt/7 && sed -i '/ 7$/d' /tmp/sums
	umount /mnt
	echo 3 >/proc/sys/vm/drop_caches
	$check "/dev/$d" >/tmp/check.log 2>&1 || { cat /tmp/check.log; fail "$check after $fs"; }
	mount -t $fs "/dev/$d" /mnt
	# A mounted disk keeps its driver.
	fails rmmod "$VSR_MODULE"
	(cd /mnt && md5sum --quiet -c /tmp/sums) || fail "$fs: files differ"
	umount /mnt
done
