# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A campaign: faults of the device in random order, under fio verify and a file system with fsync. No program sees an error, no
# write that was acknowledged is lost. VSR_FAULTS says how many, VSR_SEED in which order: the same again for the same seed.
# limit: 7200
[[ $MODE != c ]] || skip "the C driver hangs at the first of them"
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
blkdev_start campaign '"queues": 2, "latency_ms": 1, "capacity": 262144'
wait_for 10 disk campaign >/dev/null || fail "no disk"
d=$(disk campaign)
partition "$d" 2048 65536 67584 131072
wait_for 10 test -b "/dev/${d}2" || fail "no partitions"
mkfs.ext4 -q "/dev/${d}2" || fail "mkfs"
mkdir -p /tmp/campaign
mount "/dev/${d}2" /tmp/campaign || fail "mount"
fio --name=load --filename="/dev/${d}1" --rw=randwrite --bsrange=512-16k --direct=1 --ioengine=io_uring --iodepth=8 --size=32m \
	--allow_file_create=0 --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_backlog=256 --rate_iops=300 --time_based \
	--runtime=100000 --output=/tmp/load.log >/tmp/load.err 2>&1 &
load=$!
python3 "$VSR_SRC/tests/guest/campaign.py" "/dev/$d" /tmp/campaign /tmp/campaign.control || fail "seed $VSR_SEED"
! not_running $load || fail "fio has ended: $(cat /tmp/load.err /tmp/load.log)"
kill -INT $load
wait_for 60 not_running $load || fail "fio does not end"
! grep -qi 'verify:\|error=[^0 ]' /tmp/load.err /tmp/load.log || fail "fio: $(cat /tmp/load.err /tmp/load.log)"
umount /tmp/campaign || fail "umount"
fsck.ext4 -fn "/dev/${d}2" || fail "the file system is damaged"
! dmesg | grep -E "I/O error|EXT4-fs error|lost async page write" || fail "errors in the log"
echo "the device was reset $(cat "/sys/block/$d/reset") times"
blkdev_stop campaign
