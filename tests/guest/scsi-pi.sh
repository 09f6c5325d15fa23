# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Protection information (T10 PI) of the guest goes with the data, both ways: the device checks the guard and the
# reference tag of each sector, and the guest finds a guard that the device has changed.
# limit: 400
expect_log 'guard tag error|I/O error, dev sd|protection error'
# checked OP UNIT: how many blocks with protection the device saw; what the log has of earlier cases counts, too.
checked()
{
	awk -v op="op=$1" -v unit="unit=$2" '$3 == op && $4 == unit {
		for (i = 5; i <= NF; i++) if ($i ~ /^checked=/) sum += substr($i, 9)
	} END { print sum + 0 }' "$(host blkdev pi log)"
}
read_one()
{
	dd if="/dev/$d" of=/dev/null bs=4k count=1 skip=8 iflag=direct status=none 2>/tmp/errors
}
d=$(disk pi)
dmesg | grep -q "\\[$d\\] Enabling DIX T10-DIF-TYPE1-CRC" || fail "no DIX: $(dmesg | grep sd)"
same "its format" "$(<"/sys/block/$d/integrity/format")" T10-DIF-TYPE1-CRC
same "protection of the plain disk" "$(<"/sys/block/$(disk plain)/integrity/format")" none

writes=$(checked write 0:0)
reads=$(checked read 0:0)
dd if=/dev/urandom of=/tmp/data bs=64k count=8 status=none
dd if=/tmp/data of="/dev/$d" bs=64k oflag=direct status=none
cmp -n $((512 << 10)) /tmp/data "/dev/$d"
same "protected blocks written" $(($(checked write 0:0) - writes)) 1024
(($(checked read 0:0) - reads >= 1024)) || fail "protected blocks read: $(($(checked read 0:0) - reads))"

verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-256k --bs_unaligned=0 --numjobs=2 --size=4m \
	--offset_increment=8m
verify "$(disk pi4k)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-256k --size=8m
verify "$(disk plain)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=512-64k --size=4m
# Merged: a request has many segments of protection.
fio --name=merge --filename="/dev/$d" --rw=write --bs=512 --direct=1 --ioengine=libaio --iodepth=256 \
	--iodepth_batch_submit=256 --iodepth_batch_complete_min=256 --size=1m --verify=crc32c --do_verify=1 \
	--allow_file_create=0 --output=/tmp/fio.log --minimal || fail "merged: $(cat /tmp/fio.log)"
grep -qE "op=write unit=0:0 .* segs=[1-9][0-9]{2} " "$(host blkdev pi log)" || fail "nothing was merged"
mkfs.ext4 -q "/dev/$d"
mkdir -p /tmp/pi
mount "/dev/$d" /tmp/pi
cp /tmp/data /tmp/pi/
sync
umount /tmp/pi
mount "/dev/$d" /tmp/pi
cmp /tmp/data /tmp/pi/data
umount /tmp/pi
if grep -E 'op=(read|write) unit=(0:0|1:0) .*(pi_out=0 pi_in=0|status=0x2)' "$(host blkdev pi log)"; then
	fail "a command without protection, or one that the device refused"
fi

# The device changes a guard.
dd if=/tmp/data of="/dev/$d" bs=64k oflag=direct status=none
read_one || fail "$(cat /tmp/errors)"
dmesg -C
host blkdev pi fault op=read lba=64 guard
fails read_one
grep -q 'Invalid or incomplete multibyte' /tmp/errors || fail "not EILSEQ: $(cat /tmp/errors)"
dmesg | grep -q 'guard tag error' || fail "no message: $(dmesg)"
read_one || fail "$(cat /tmp/errors)"
# The device finds a wrong guard.
host blkdev pi fault op=write lba=64 sense=0xb,0x10,1
fails dd if=/tmp/data of="/dev/$d" bs=4k count=1 seek=8 oflag=direct conv=notrunc status=none 2>/tmp/errors
grep -q 'Invalid or incomplete multibyte' /tmp/errors || fail "not EILSEQ: $(cat /tmp/errors)"
# A check condition without a reason: error handling asks for it by the command that failed. The protection information of the
# write, which is still there, has no part in that. The C driver gives it to the device to write to.
host blkdev pi mark unreasoned
host blkdev pi fault op=write lba=64 status=2
dd if=/tmp/data of="/dev/$d" bs=4k count=1 seek=8 oflag=direct conv=notrunc status=none 2>/tmp/errors || true
since unreasoned "$(host blkdev pi log)" >/tmp/seen
grep -q 'op=sense unit=0:0 ' /tmp/seen || fail "nobody asked why: $(cat /tmp/seen)"
if [[ $MODE != c ]] && grep 'op=sense unit=0:0 ' /tmp/seen | grep -v 'pi_out=0 pi_in=0'; then
	fail "a question with protection information"
fi
dd if=/tmp/data of="/dev/$d" bs=4k count=1 seek=8 oflag=direct conv=notrunc status=none || fail "the disk fails: $(dmesg | tail)"
