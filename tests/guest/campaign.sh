# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A campaign: faults of the device in random order, under fio verify and a file system with fsync. No program sees an error, no
# write that was acknowledged is lost. VSR_FAULTS says how many, VSR_SEED in which order: the same again for the same seed.
# VSR_FAULT is a word of the only fault that is to be tried, by which the C driver, too, can be seen with it.
# limit: 7200
[[ $MODE != c || -n $VSR_FAULT ]] || skip "the C driver hangs at the first of them"
dmesg -C
d=$(disk campaign)
virtio=$(readlink -f "/sys/block/$d/device" | grep -o '.*/virtio[0-9]*')
read -ra reset < <(operator_reset "$d")
# Who waits for C's I/O cannot be killed.
limit=7000
[[ $MODE != c ]] || limit=120
partition "$d" 2048 65536 67584 131072 198656 655360
wait_for 10 test -b "/dev/${d}3" || fail "no partitions"
folders=()
for part in 2:ext4 3:xfs; do
	fs=${part#*:} place=/tmp/campaign-${part#*:}
	# The debug kernel has ext4 alone.
	modprobe "$fs" 2>/dev/null || grep -qw "$fs" /proc/filesystems || continue
	# What the other mode left keeps mkfs.xfs from it.
	dd if=/dev/zero of="/dev/$d${part%:*}" bs=1M count=1 oflag=direct conv=notrunc status=none
	"mkfs.$fs" -q "/dev/$d${part%:*}" || fail "mkfs.$fs"
	mkdir -p "$place"
	mount "/dev/$d${part%:*}" "$place" || fail "mount"
	folders+=("$place")
done
fio --name=load --filename="/dev/${d}1" --rw=randwrite --bsrange=512-16k --direct=1 --ioengine=io_uring --iodepth=8 --size=32m \
	--allow_file_create=0 --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_backlog=256 --rate_iops=300 --time_based \
	--runtime=100000 --output=/tmp/load.log >/tmp/load.err 2>&1 &
load=$!
python3 "$VSR_SRC/tests/guest/campaign.py" "/dev/$d" "${virtio%/virtio*}/config" "${reset[@]}" "${folders[@]}" &
program=$!
wait_for "$limit" not_running $program || fail "nothing moves: $(dmesg | tail -n 3)"
wait $program || fail "seed $VSR_SEED"
! not_running $load || fail "fio has ended: $(cat /tmp/load.err /tmp/load.log)"
kill -INT $load
wait_for 60 not_running $load || fail "fio does not end"
! grep -qi 'verify:\|error=[^0 ]' /tmp/load.err /tmp/load.log || fail "fio: $(cat /tmp/load.err /tmp/load.log)"
umount "${folders[@]}" || fail "umount"
fsck.ext4 -fn "/dev/${d}2" || fail "ext4 is damaged"
[[ " ${folders[*]}" != *xfs ]] || xfs_repair -n "/dev/${d}3" >/tmp/fsck 2>&1 || fail "xfs is damaged: $(cat /tmp/fsck)"
! dmesg | grep -E "I/O error|(EXT4-fs|XFS).*(error|orrupt|hutdown)|lost async page write" || fail "errors in the log"
echo "the device was reset $(dmesg | grep -c 'resetting the device') times"
