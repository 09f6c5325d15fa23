# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The maintained back end of vhost-user-scsi (vhost-device-scsi): its units, and all that its images hold. It does not write.
# limit: 300
expect_log 'I/O error, dev sd|Buffer I/O error'
lsscsi
disks=()
for dir in /sys/block/sd*; do
	[[ -e $dir ]] || continue
	disks+=("${dir##*/}")
done
same "the count of disks" ${#disks[@]} 3
for unit in 0 1 2; do
	d=$(basename /sys/bus/scsi/devices/*:0:0:$unit/block/*)
	same "the size of unit $unit" "$(<"/sys/block/$d/size")" $(((8 << 11) * (unit + 1)))
	sg_inq "/dev/$d" | grep -q 'Product identification: *vhost-user-scsi' || fail "sg_inq: $(sg_inq "/dev/$d")"
	same "the units of its target" "$(sg_luns -q "/dev/$d" | wc -l)" 3
	sg_readcap --16 "/dev/$d" >/dev/null || fail "sg_readcap"
	sg_turs "/dev/$d"
	# The block layer's reads in any order, and what the page cache makes of them.
	for rw in read randread; do
		fio --name=read --filename="/dev/$d" --rw=$rw --bs=4k --direct=1 --ioengine=io_uring --iodepth=16 --readonly \
			--verify=crc32c --size=$((8 * (unit + 1)))m --allow_file_create=0 --output=/tmp/fio.log --minimal ||
			fail "fio $rw on unit $unit: $(cat /tmp/fio.log)"
	done
	fio --name=cached --filename="/dev/$d" --rw=read --bs=4k --verify=crc32c --readonly --size=8m --allow_file_create=0 \
		--output=/tmp/fio.log --minimal || fail "buffered reads of unit $unit: $(cat /tmp/fio.log)"
done
# An unknown command and a block beyond the end: sense data.
fails sg_raw "/dev/$d" ff 00 00 00 00 00 2>/tmp/sense
grep -q 'Illegal Request' /tmp/sense || fail "no sense data: $(cat /tmp/sense)"
fails sg_raw "/dev/$d" 28 00 7f ff ff ff 00 00 01 00 --request=512 2>/tmp/sense
grep -q 'Illegal Request' /tmp/sense || fail "no sense data: $(cat /tmp/sense)"
