# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Zone append: btrfs on a host-managed disk from tests/device writes its data by it, and finds it again; false answers to it.
# limit: 300
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
blkdev_start zoned '"capacity": 1048576, "zones": {"size": 8192, "max_append": 512, "granularity": 4096}'
wait_for 10 disk zoned >/dev/null || fail "no disk"
d=$(disk zoned)
modprobe btrfs
mkfs.btrfs -q -O zoned -d single -m single "/dev/$d" || fail "mkfs.btrfs"
mkdir -p /mnt/zoned /tmp/append
mount "/dev/$d" /mnt/zoned
# One fsync at a time: btrfs gives EAGAIN to several on zones, with any driver.
fio --name=files --directory=/mnt/zoned --rw=randwrite --bsrange=4k-256k --size=8m --numjobs=3 --ioengine=psync \
	--verify=crc32c --do_verify=1 --output=/tmp/fio.log || fail "fio: $(cat /tmp/fio.log)"
head -c 6000000 /dev/urandom >/tmp/append/file
cp /tmp/append/file /mnt/zoned/file
umount /mnt/zoned
logged zoned ' op=append .* status=0 '
# In blocks, each append to a place of the device's choice: sums are checked when the file is read again.
mount "/dev/$d" /mnt/zoned
cmp /tmp/append/file /mnt/zoned/file || fail "the file changed"
btrfs scrub start -B /mnt/zoned >/tmp/scrub.log || fail "scrub: $(cat /tmp/scrub.log)"

# Data that went to another zone, or so the device says: the writer has an error. The C driver believes it.
if [[ $MODE != c ]]; then
	expect_log 'BTRFS'
	for at in 0 1048576 0xffffffffffffffff; do
		blkdev zoned fault "op=append data=0:$at"
		fails dd if=/tmp/append/file of=/mnt/zoned/false bs=64k count=1 conv=fsync status=none
	done
	dmesg | grep -q 'bad answer' || fail "no message: $(dmesg)"
fi
umount /mnt/zoned
blkdev_stop zoned
