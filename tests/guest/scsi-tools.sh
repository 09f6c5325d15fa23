# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# sg3-utils through sg and through the block device: inquiry, pages, thin provisioning, reset; discard shrinks the image.
# limit: 300
d=$(disk data)
sg=/dev/$(ls "/sys/block/$d/device/scsi_generic")
sg_inq "$sg" | grep -q 'Product identification: QEMU HARDDISK' || fail "sg_inq: $(sg_inq "$sg")"
sg_inq "/dev/$(disk cd)" 2>/dev/null | grep -q 'CD-ROM' || sg_inq /dev/sr0 | grep -q 'CD-ROM' || fail "sg_inq of the CD"
same "logical units of target 0" "$(sg_luns -q "$sg" | wc -l)" 1
same "the capacity" "$(sg_readcap --brief "$sg" | cut -d' ' -f1)" 0x100000
sg_readcap --16 "/dev/$(disk data4k)" | grep -q 'block length=4096' || fail "sg_readcap --16"
sg_vpd -p sn "$sg" | grep -q data || fail "the serial number: $(sg_vpd -p sn "$sg")"
sg_vpd -p di "$sg" >/dev/null
sg_vpd -p bl "$sg" | grep -q 'Maximum unmap' || fail "sg_vpd -p bl: $(sg_vpd -p bl "$sg")"
sg_turs "$sg"
sg_senddiag --selftest=0 "$sg" || true
sg_modes -a "$sg" >/dev/null
# Sense data: a block beyond the end; an unknown command.
fails sg_read if="$sg" bs=512 skip=1048576 count=1 blk_sgio=1 2>/tmp/sense
fails sg_raw "$sg" 28 00 7f ff ff ff 00 00 01 00 --request=512 2>/tmp/sense
grep -q 'Illegal Request' /tmp/sense || fail "no sense data: $(cat /tmp/sense)"
fails sg_raw "$sg" ff 00 00 00 00 00 2>/tmp/sense
grep -q 'Illegal Request' /tmp/sense || fail "no sense data: $(cat /tmp/sense)"
# A residual: less data than there is room for.
sg_raw -v --request=252 "$sg" 12 00 00 00 fc 00 2>&1 | grep -q 'resid\|Received [0-9]* bytes' || fail "no residual"

# Thin provisioning.
d=$(disk thin)
# What another case wrote is given back first: only new clusters are counted.
blkdiscard "/dev/$d"
before=$(host allocated qcow)
dd if=/dev/urandom of="/dev/$d" bs=1M count=32 oflag=direct status=none
written=$(host allocated qcow)
((written >= before + (31 << 10))) || fail "32 MiB take $((written - before)) KiB"
blkdiscard --offset 0 --length $((16 << 20)) "/dev/$d"
sg_unmap --force --lba=32768 --num=32768 "/dev/$d"
after=$(host allocated qcow)
((after <= before + 1024)) || fail "after discard and unmap of all, $((after - before)) KiB are left"
dd if=/dev/urandom of="/dev/$d" bs=1M count=1 oflag=direct status=none
sg_write_same --16 --lba=0 --num=2048 --xferlen=512 "/dev/$d"
cmp -n $((1 << 20)) "/dev/$d" /dev/zero || fail "WRITE SAME did not write zeroes"
blkdiscard --zeroout --offset $((1 << 20)) --length $((4 << 20)) "/dev/$d"
cmp -i $((1 << 20)) -n $((4 << 20)) "/dev/$d" /dev/zero || fail "write zeroes"

# Resets of one unit and of its target, under I/O to another one: it goes on.
d=$(disk data)
fio --name=load --filename="/dev/$(disk high)" --rw=randrw --bs=4k --direct=1 --ioengine=io_uring --iodepth=16 \
	--size=16m --allow_file_create=0 --time_based --runtime=10 --output=/tmp/load.log &
load=$!
# The C driver has no reset of a target, and none of the host.
resets=(--device --target --device)
[[ $MODE != c ]] || resets=(--device)
for what in "${resets[@]}"; do
	sg_reset --no-esc "$what" "/dev/$d" || fail "sg_reset $what"
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=512k
done
wait $load || fail "I/O to another unit failed during resets: $(cat /tmp/load.log)"
# The unit itself under load: its commands are sent again.
fio --name=load --filename="/dev/$d" --rw=randwrite --verify=crc32c --do_verify=1 --bs=4k --direct=1 --ioengine=io_uring \
	--iodepth=32 --size=8m --allow_file_create=0 --output=/tmp/load.log &
load=$!
for _ in 1 2 3; do
	sleep 0.5
	sg_reset --no-esc --device "/dev/$d"
done
wait $load || fail "I/O failed when its unit was reset: $(cat /tmp/load.log)"
if [[ $MODE != c ]]; then
	fio --name=load --filename="/dev/$d" --rw=randwrite --verify=crc32c --do_verify=1 --bs=4k --direct=1 \
		--ioengine=io_uring --iodepth=32 --size=8m --allow_file_create=0 --output=/tmp/load.log &
	load=$!
	for _ in 1 2 3; do
		sleep 0.5
		sg_reset --no-esc --host "/dev/$d" || fail "sg_reset --host"
	done
	wait $load || fail "I/O failed when the host was reset: $(cat /tmp/load.log)"
	verify "$(disk data4k)" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=512k
fi
