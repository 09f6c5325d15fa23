# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# tests/device in the guest: what the driver sends for each operation, as the device logs it.
# limit: 300
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
blkdev_start ops '"queues": 2, "features": ["discard", "write_zeroes", "secure_erase", "lifetime", "size_max", "topology"],
	"config": {"size_max": 8192, "max_discard_sectors": 64, "max_secure_erase_sectors": 128, "physical_block_exp": 3,
	"alignment_offset": 1}'
wait_for 10 disk ops >/dev/null || fail "no disk"
d=$(disk ops)
same "the offset of the first aligned block" "$(<"/sys/block/$d/alignment_offset")" 512
logged ops ' op=get_id .* bytes=20 .* status=0 used=21$'
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=512-64k --size=1m
verify "$d" --direct=0 --ioengine=psync --bs=4k --size=256k --numjobs=2 --offset_increment=1m --end_fsync=1
logged ops ' op=flush .* status=0 used=1$'
logged ops ' q=1 '
# The priority of who asks: class 1 (real-time), level 3.
ionice -c 1 -n 3 dd if=/dev/zero of="/dev/$d" bs=4k count=1 seek=1000 oflag=direct conv=notrunc status=none
logged ops ' op=write .* sector=8000 .* ioprio=8195 '
# A serial number that cannot be read is empty, not an error.
blkdev ops fault op=get_id status=1
found=$(cat "/sys/block/$d/serial") || fail "a serial number that cannot be read is an error"
same "a serial number that fails" "$found" ""
blkdev ops clear
same "the serial number" "$(cat "/sys/block/$d/serial")" ops
# How worn the device is, as it says. The C driver has no such files.
if [[ $MODE != c ]]; then
	same "pre_eol_info" "$(<"/sys/block/$d/pre_eol_info")" 0x01
	same "life_time" "$(<"/sys/block/$d/life_time")" "0x04 0x02"
	logged ops ' op=get_lifetime .* bytes=6 .* status=0 used=7$'
	blkdev ops fault op=get_lifetime data=0:0x000b0aff0003
	same "life_time of a worn device" "$(<"/sys/block/$d/life_time")" "0xaff 0x0b"
	for fault in status=1 used=3; do
		blkdev ops fault op=get_lifetime $fault
		fails cat "/sys/block/$d/life_time" 2>/dev/null
	done
	dmesg | grep -q 'bad answer: status 0x0, 3 of 7 bytes' || fail "no message: $(dmesg)"
	blkdev ops clear
	blkdev_start plain
	wait_for 10 disk plain >/dev/null || fail "no disk"
	fails test -e "/sys/block/$(disk plain)/life_time"
	blkdev_stop plain
fi
# No segment is larger than size_max, though the memory is in one piece.
if [[ -e /proc/sys/vm/nr_hugepages ]]; then
	echo 8 >/proc/sys/vm/nr_hugepages
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=4 --bs=64k --size=512k --iomem=mmaphuge
fi
awk '/ op=(read|write) / { split($7, s, /[=,]/); for (i = 2; i in s; i++) if (s[i] > 8192) { print; bad = 1 } }
	END { exit bad }' /tmp/ops.log || fail "a segment is larger than size_max"
# Pages that lie side by side are one segment, up to the limit.
blkdev_start pieces
wait_for 10 disk pieces >/dev/null || fail "no disk"
for name in ops pieces; do
	p=$(disk $name)
	pieces=$(python3 "$VSR_SRC/tests/guest/pieces.py" "/dev/$p" 2048 "$(<"/sys/block/$p/queue/max_segment_size")") ||
		fail "pieces of $name"
	logged $name " op=write .* sector=2048 bytes=131072 segs=$pieces "
done
blkdev_stop pieces
if (($(read_attr "$d" discard_max_bytes) > 0)); then
	same discard_max_bytes "$(read_attr "$d" discard_max_bytes)" $((64 * 512))
	blkdev ops mark discard
	blkdiscard --offset 1m --length 96k "/dev/$d" || fail discard
	logged ops ' op=discard .* ranges=2048\+64:0 status=0 used=1$'
	logged ops ' op=discard .* ranges=2112\+64:0 status=0 used=1$'
	logged ops ' op=discard .* ranges=2176\+64:0 status=0 used=1$'
	cmp --bytes=$((96 << 10)) "/dev/$d" /dev/zero $((1 << 20)) 0 || fail "discarded data is there"
	blkdiscard --zeroout --offset 2m --length 64k "/dev/$d" || fail "write zeroes"
	logged ops ' op=write_zeroes .* ranges=4096\+128:[01] status=0 used=1$'
	# The kernel's own driver takes bit 0 of the type for the direction: its ranges are there for the device to write.
	if [[ $MODE != c ]]; then
		blkdiscard --secure --offset 3m --length 64k "/dev/$d" || fail "secure erase"
		logged ops ' op=secure_erase .* ranges=6144\+128:0 status=0 used=1$'
	fi
fi
not_logged ops ' op=(read|write|flush|discard|write_zeroes|secure_erase) .* status=[1-9n]'
blkdev_stop ops

# Several ranges in a request, which blk-mq makes of discards that are plugged together: exactly what is free.
blkdev_start ranges '"capacity": 1048576, "features": ["discard", "write_zeroes"],
	"config": {"max_discard_sectors": 4194304, "max_discard_seg": 8, "max_write_zeroes_sectors": 4194304}'
wait_for 10 disk ranges >/dev/null || fail "no disk"
d=$(disk ranges)
mkfs.xfs -q -f -K "/dev/$d"
mount "/dev/$d" /mnt
for i in $(seq 10 29); do
	fallocate --length 256k "/mnt/$i"
	sync -f /mnt
done
extents()
{
	filefrag -v -b512 "$@" | sed -nE 's/^ *[0-9]+: +[0-9]+\.\. +[0-9]+: +([0-9]+)\.\. +[0-9]+: +([0-9]+):.*/\1 \2/p'
}
extents /mnt/[12][13579] >/tmp/kept
extents /mnt/[12][02468] >/tmp/removed
rm /mnt/[12][02468]
sync -f /mnt
blkdev ranges mark trim
fstrim /mnt || fail fstrim
umount /mnt
since trim /tmp/ranges.log | sed -nE 's/.* op=discard .* ranges=(.*) status=0 used=1$/\1/p' >/tmp/trimmed
[[ $MODE == bio ]] || grep -q , /tmp/trimmed || fail "no request has several ranges: $(cat /tmp/trimmed)"
tr , '\n' </tmp/trimmed | sed 's/:0$//; s/+/ /' >/tmp/ranges
awk 'FILENAME == "/tmp/ranges" { from[++n] = $1; to[n] = $1 + $2; next }
	{
		inside = touched = 0
		for (i = 1; i <= n; i++) {
			inside += from[i] <= $1 && $1 + $2 <= to[i]
			touched += from[i] < $1 + $2 && $1 < to[i]
		}
		gone = FILENAME == "/tmp/removed"
		if (inside != gone || touched != gone) { print FILENAME ": " $0; bad = 1 }
		seen[FILENAME]++
	}
	END { exit bad || seen["/tmp/kept"] < 10 || seen["/tmp/removed"] < 10 }' /tmp/ranges /tmp/kept /tmp/removed ||
	fail "other ranges than those that are free: $(xargs </tmp/trimmed)"
blkdev_stop ranges
