# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A campaign: faults of the device in random order, under fio verify and a file system with fsync. No program sees an error, no
# write that was acknowledged is lost. VSR_FAULTS says how many, VSR_SEED in which order: the same again for the same seed.
# VSR_DISKS disks of our own share them with one of QEMU's, side by side, each with a load and an order of its own; of each kind each disk
# has as many. The seed of each is one more than that of the one before: with that seed, it has the same faults again.
# VSR_FAULT is a word of the only fault that is to be tried, by which the C driver, too, can be seen with it; or several, with commas,
# of which each disk has one.
# limit: 7200
[[ $MODE != c || -n $VSR_FAULT ]] || skip "the C driver hangs at the first of them"
dmesg -C
# Who waits for C's I/O cannot be killed.
limit=7000
[[ $MODE != c ]] || limit=300
names=()
for ((number = 0; number < VSR_DISKS; number++)); do
	names+=("campaign${number#0}")
done
names+=(qemu)
# QEMU's has a third of the kinds that ours have.
shares=$((3 * VSR_DISKS + 1))
IFS=, read -ra only <<<"$VSR_FAULT"
rm -f /tmp/campaign.failed

# mounted NAME DISK: partitions it, and mounts their file systems; leaves their places in $folders.
mounted()
{
	local part fs place
	partition "$2" 2048 65536 67584 131072 198656 655360
	wait_for 10 test -b "/dev/${2}3" || fail "no partitions"
	folders=()
	for part in 2:ext4 3:xfs; do
		fs=${part#*:} place=/tmp/$1-${part#*:}
		# It takes its time; ours have it.
		[[ $1:$fs != qemu:xfs ]] || continue
		# The debug kernel has ext4 alone.
		modprobe "$fs" 2>/dev/null || grep -qw "$fs" /proc/filesystems || continue
		# What the other mode left keeps mkfs.xfs from it.
		dd if=/dev/zero of="/dev/$2${part%:*}" bs=1M count=1 oflag=direct conv=notrunc status=none
		"mkfs.$fs" -q "/dev/$2${part%:*}" || fail "mkfs.$fs"
		mkdir -p "$place"
		mount "/dev/$2${part%:*}" "$place" || fail "mount"
		folders+=("$place")
	done
}

# begin NUMBER: its load, and its faults.
begin()
{
	local name=${names[$1]} d=${disks[$1]} share=3 count word="" virtio reset
	[[ $name != qemu ]] || share=1
	# shellcheck disable=SC2153 # VSR_FAULT is another one
	count=$(((VSR_FAULTS * share + shares - 1) / shares))
	((${#only[@]} == 0)) || word=${only[$1 % ${#only[@]}]}
	virtio=$(readlink -f "/sys/block/$d/device" | grep -o '.*/virtio[0-9]*')
	read -ra reset < <(operator_reset "$d")
	fio --name=load --filename="/dev/${d}1" --rw=randwrite --bsrange=512-16k --direct=1 --ioengine=io_uring --iodepth=8 --size=32m \
		--allow_file_create=0 --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_backlog=256 \
		--rate_iops=$((300 / ${#names[@]})) --time_based --runtime=100000 --output="/tmp/$name.log" >"/tmp/$name.err" 2>&1 &
	loads+=($!)
	# shellcheck disable=SC2086 # several words
	(VSR_FAULT=$word python3 "$VSR_SRC/tests/guest/campaign.py" "$name" "$count" $((VSR_SEED + $1)) "/dev/$d" "${virtio%/virtio*}" \
		"${reset[@]}" ${places[$1]} || touch /tmp/campaign.failed) &
	programs+=($!)
}

# Of C's, each is waited for: it says what came of its faults.
over()
{
	[[ $MODE != c && -e /tmp/campaign.failed ]] || ! kill -0 "${programs[@]}"
}

disks=() places=() loads=() programs=()
for name in "${names[@]}"; do
	d=$(disk "$name")
	mounted "$name" "$d"
	disks+=("$d") places+=("${folders[*]}")
done
for number in "${!names[@]}"; do
	begin "$number"
done
wait_for "$limit" over || fail "nothing moves: $(dmesg | tail -n 3)"
[[ ! -e /tmp/campaign.failed ]] || fail "seed $VSR_SEED, $VSR_DISKS disks and QEMU's"
for number in "${!names[@]}"; do
	load=${loads[$number]} d=${disks[$number]} name=${names[$number]}
	! not_running "$load" || fail "fio has ended: $(cat "/tmp/$name.err" "/tmp/$name.log")"
	kill -INT "$load"
	wait_for 60 not_running "$load" || fail "fio does not end"
	! grep -qi 'verify:\|error=[^0 ]' "/tmp/$name.err" "/tmp/$name.log" || fail "fio: $(cat "/tmp/$name.err" "/tmp/$name.log")"
	# shellcheck disable=SC2086 # several words
	umount ${places[$number]} || fail "umount"
	fsck.ext4 -fn "/dev/${d}2" >/tmp/fsck 2>&1 || fail "ext4 is damaged: $(cat /tmp/fsck)"
	[[ ${places[$number]} != *xfs ]] || xfs_repair -n "/dev/${d}3" >/tmp/fsck 2>&1 || fail "xfs is damaged: $(cat /tmp/fsck)"
done
! dmesg | grep -E "I/O error|(EXT4-fs|XFS).*(error|orrupt|hutdown)|lost async page write" || fail "errors in the log"
python3 "$VSR_SRC/tests/guest/campaign-times.py" "${names[@]/#//tmp/}" || fail "no times"
echo "the devices were reset $(dmesg | grep -c 'resetting the device') times"
