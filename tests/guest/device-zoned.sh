# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A host-managed zoned disk from tests/device: report, append, states, limits.
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
blkdev_start zoned '"capacity": 65536, "zones": {"size": 8192, "capacity": 6144, "conventional": 1,
	"max_open": 2, "max_active": 3, "max_append": 512, "granularity": 4096}'
wait_for 10 disk zoned >/dev/null || skip "the driver has no zones"
d=$(disk zoned)
same zoned "$(read_attr "$d" zoned)" host-managed
same chunk_sectors "$(read_attr "$d" chunk_sectors)" 8192
same nr_zones "$(read_attr "$d" nr_zones)" 8
same max_open_zones "$(read_attr "$d" max_open_zones)" 2
same max_active_zones "$(read_attr "$d" max_active_zones)" 3
same zone_append_max_bytes "$(read_attr "$d" zone_append_max_bytes)" $((512 * 512))
same zone_write_granularity "$(read_attr "$d" zone_write_granularity)" 4096
logged zoned ' op=report .* zones=8 status=0'
# zone N prints condition and write pointer.
zone()
{
	blkzone report --offset $(($1 * 8192)) --count 1 "/dev/$d" |
		sed -n 's/.*wptr \(0x[0-9a-f]*\) .*zcond: *\([0-9]*\).*/\2 \1/p'
}
write()
{
	dd if=/dev/urandom of="/dev/$d" bs=4k count="$2" seek="$1" oflag=direct conv=notrunc status=none
}
write 1024 2
same "zone 1 after a write" "$(zone 1)" "2 0x000010"
blkzone close --offset 8192 --length 8192 "/dev/$d"
same "zone 1 closed" "$(zone 1)" "4 0x000010"
blkzone open --offset 16384 --length 8192 "/dev/$d"
same "zone 2 open" "$(zone 2)" "3 0x000000"
blkzone finish --offset 8192 --length 8192 "/dev/$d"
same "zone 1 full" "$(zone 1 | cut -d' ' -f1)" 14
blkzone reset --offset 8192 --length 8192 "/dev/$d"
same "zone 1 empty" "$(zone 1)" "1 0x000000"
blkzone reset "/dev/$d"
same "zone 2 empty" "$(zone 2)" "1 0x000000"
logged zoned ' op=(reset_all|reset) '
# The block layer writes in order, whatever the queue depth; appends tell where.
fio --name=zbd --filename="/dev/$d" --zonemode=zbd --rw=write --bs=64k --direct=1 --ioengine=io_uring --iodepth=8 \
	--offset=8z --size=4z --offset=1z --verify=crc32c --do_verify=1 --max_open_zones=2 --output=/tmp/fio.log ||
	fail "fio: $(cat /tmp/fio.log)"
not_logged zoned ' status=[1-9n]'
# Refused by the device, reported to the writer.
blkzone reset "/dev/$d"
expect_log 'I/O error, dev vd|critical .* error, dev vd'
blkzone open --offset 8192 --length 16384 "/dev/$d"
fails write 3072 1
logged zoned ' op=write .* status=5 '

# False reports, each of one field; who asked has an error, the next report is right. The C driver checks three of them.
if [[ $MODE != c ]]; then
	for field in 8:4096 8:0x2000000002000 0:0 0:8193 16:0xffffffffffff 24:0x00ff 24:0x0902 24:0x0002; do
		dmesg -C
		blkdev zoned fault "op=report data=$((64 + ${field%:*})):${field#*:}"
		fails blkzone report --offset 8192 --count 1 "/dev/$d" >/dev/null
		dmesg | grep -q 'zone at sector 8192: bad report' || fail "a false report, $field: $(dmesg)"
		blkzone report "/dev/$d" >/dev/null || fail "after a false report"
	done
	# More zones than there is room for are not looked at; none at all is an error.
	blkdev zoned fault "op=report data=0:0xffffffffffffffff"
	same "zones" "$(blkzone report --count 2 "/dev/$d" | wc -l)" 2
	blkdev zoned fault "op=report data=0:0"
	fails blkzone report --count 2 "/dev/$d"
fi
# The block layer has memory for the zones that there were: a disk of zones does not grow.
if [[ $MODE != c ]]; then
	dmesg -C
	blkdev zoned config capacity 131072
	wait_for 10 told 'cannot grow; the old size stays' || fail "no message: $(dmesg)"
	same "the old size" "$(blockdev --getsz "/dev/$d")" 65536
	blkzone reset "/dev/$d"
fi
blkdev_stop zoned
