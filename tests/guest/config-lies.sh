# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Devices whose features and configuration space are chosen at random (tests/device/src/falsehoods.rs), every other of which goes on
# changing it, while the driver reads it and afterwards: a probe ends, with a disk or a word; the disk lives, goes when it is told to,
# and an honest one is served afterwards. VSR_LIES / 100 devices, VSR_SEED says which.
# limit: 3600
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
[[ $MODE != c ]] || skip "the C driver takes much of this, and warns"
expect_log 'configuration refused|I/O error, dev|Buffer I/O error'
disks=0 refused=0 changes=0
ended()
{
	told 'probe with driver virtio_blk failed' || disk conf >/dev/null
}
for ((n = 0; n < VSR_LIES / 100; n++)); do
	seed=$((VSR_SEED * 100000 + n))
	echo "seed $seed"
	dmesg -C
	blkdev_start conf "\"lies\": $seed, \"changes\": $((n % 2 * 1000))"
	wait_for 20 ended || fail "seed $seed: neither a disk nor a word of the bus: $(dmesg)"
	if told 'probe with driver virtio_blk failed'; then
		refused=$((refused + 1))
	else
		disks=$((disks + 1))
		d=$(disk conf)
		for way in "if=/dev/$d of=/dev/null iflag=direct" "if=/dev/zero of=/dev/$d oflag=direct conv=notrunc"; do
			# shellcheck disable=SC2086 # words
			timeout 30 dd $way bs=64k count=4 status=none || (($? != 124)) || fail "seed $seed: dd does not end"
		done
		wait_for 30 eval "blkdev conf state | grep -q changes=0" || fail "seed $seed: the device does not end its changes"
	fi
	changes=$((changes + n % 2 * 1000))
	blkdev_stop conf
	(($(dmesg | wc -l) < 300)) || fail "seed $seed: $(dmesg | wc -l) lines in the log: $(dmesg | tail -n 20)"
done
echo "$n devices: $disks disks, $refused refused; $changes changes"
blkdev_start honest
wait_for 20 disk honest >/dev/null || fail "no honest disk"
verify "$(disk honest)" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=2m
blkdev_stop honest
