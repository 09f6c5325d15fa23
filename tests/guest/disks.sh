# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The parameter disks: a path for single disks, by serial number or PCI address; the last entry counts, the address before the
# serial number, both before use_bio. A wrong entry is told, and the others count.
# driver: manual
# limit: 600
[[ $MODE != c ]] || skip "the C driver has one path"
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
# path SERIAL WANTED REASON
path()
{
	local d
	d=$(disk "$1") || fail "no disk $1: $(dmesg)"
	same "io_path of $1" "$(<"/sys/block/$d/io_path")" "$2"
	same "io_path_reason of $1" "$(<"/sys/block/$d/io_path_reason")" "$3"
}
by_serial="parameter disks, by serial number"
by_address="parameter disks, by address"
all="parameter use_bio"
insmod "$VSR_KO"
address=$(basename "$(readlink -f "/sys/block/$(disk fast2)/device/..")")
[[ $address =~ ^0000:00:[0-9a-f]{2}\.[0-7]$ ]] || fail "the PCI address is '$address'"
unload
dmesg -C
wanted="fast1=request,fast1=bio,nobody=bio,fast2=request,wrong,slow=fast,=bio,$address=bio"
insmod "$VSR_KO" "disks=$wanted"
same "the parameter" "$(</sys/module/virtio_blk/parameters/disks)" "$wanted"
path fast1 bio "$by_serial"
path fast2 bio "$by_address"
path slow request "$all"
path data request "$all"
for wrong in wrong slow=fast =bio; do
	dmesg | grep -qF "virtio_blk: disks: '$wrong' is not NAME=request, NAME=bio or NAME=auto; ignored" ||
		fail "the log does not tell of '$wrong': $(dmesg)"
done
verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
unload
# All the others in bio mode; one is measured.
insmod "$VSR_KO" use_bio=1 disks="fast1=request,slow=auto" auto_latency=50000 auto_time=100000
path fast1 request "$by_serial"
path fast2 bio "$all"
path data bio "$all"
path slow request "measured: 9 of up to 32 reads took more than 50000 us"
verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
# One that does not tell its serial number in time is in request mode, and not reset while it has the question: the block layer
# waits for that before the disk can be opened.
echo 500 >/sys/module/virtio_blk/parameters/auto_time
blkdev_start nameless '"queues": 2, "faults": ["op=get_id drop count=1"]'
silent()
{
	grep -l '^no serial number in 500 ms' /sys/block/vd*/io_path_reason
}
wait_for 30 silent || fail "the disk that does not tell its name does not come: $(dmesg)"
same "its path" "$(<"$(dirname "$(silent)")/io_path")" request
d=$(basename "$(dirname "$(silent)")")
blkdev nameless release
wait_for 20 dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "it does not work"
blkdev_stop nameless
unload
# Too long.
dmesg -C
insmod "$VSR_KO" disks="$(printf 'fast1=bio,%.0s' {1..110})"
dmesg | grep -q 'virtio_blk: disks: more than 1024 bytes; ignored' || fail "nothing is told of a long list: $(dmesg)"
path fast1 request "$all"
unload
