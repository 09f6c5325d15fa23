# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A discard of two ranges is given up together with its device. After the operator's reset, a discard and a write of zeroes, in the
# memory of the same command (there is but one), send their own range, and that alone: the old ones have data again.
# driver: manual
# limit: 300
[[ $MODE != c ]] || skip "the C driver hangs"
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
load queue_depth=1
blkdev_start cancelled '"features": ["discard", "write_zeroes"], "config": {"max_discard_seg": 8}'
wait_for 10 disk cancelled >/dev/null || fail "no disk"
d=$(disk cancelled)
old=2049+7:0
if [[ $MODE == request ]]; then
	echo none >"/sys/block/$d/queue/scheduler"
	same "the number of requests" "$(read_attr "$d" nr_requests)" 1
	old=2049+7:0,2056+121:0
fi
echo 1 >/sys/module/virtio_blk/parameters/repairs
dd if=/dev/urandom of=/tmp/data bs=64k count=1 status=none
for option in --force --zeroout; do
	dmesg -C
	blkdev cancelled mark "given up"
	blkdev cancelled fault "op=discard id=70000 count=0"
	# The block layer makes two bios of one that begins amid a granule, and blk-mq a request of both.
	fails timeout 100 blkdiscard --offset $(((1 << 20) + 512)) --length 64k "/dev/$d"
	since "given up" /tmp/cancelled.log | grep -qF " ranges=$old " || fail "no discard of $old: $(tail -n 5 /tmp/cancelled.log)"
	dmesg | grep -q 'the device works no more: it is reset, and all I/O to it fails' || fail "it was not given up: $(dmesg)"
	blkdev cancelled clear
	echo 1 >"/sys/block/$d/reset" || fail "the reset failed"
	dd if=/tmp/data of="/dev/$d" bs=64k seek=16 count=1 oflag=direct conv=notrunc status=none
	blkdev cancelled mark "next $option"
	blkdiscard $option --offset 4m --length 64k "/dev/$d" || fail "blkdiscard $option after the reset"
	same "ranges of blkdiscard $option after a discard that was given up" \
		"$(since "next $option" /tmp/cancelled.log | sed -nE 's/.* op=(discard|write_zeroes) .* ranges=([^ ]*):[01] .*/\2/p')" 8192+128
	cmp -n 65536 /tmp/data <(dd if="/dev/$d" bs=64k skip=16 count=1 iflag=direct status=none) || fail "blkdiscard $option: the old ranges were hit"
done
blkdev_stop cancelled
unload
