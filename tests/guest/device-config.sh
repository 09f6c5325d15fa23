# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Configuration spaces that no device should have: no disk, and a message that names the field.
# limit: 300
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
[[ $MODE != c ]] || skip "the C driver has other words, and takes some of these"
expect_log 'configuration refused'
before=$(cd /sys/block && echo vd*)
# refused MESSAGE SETTINGS
refused()
{
	dmesg -C
	blkdev_start bad "$2"
	same "disks with $2" "$(cd /sys/block && echo vd*)" "$before"
	dmesg | grep -q "$1" || fail "no '$1' in the log for $2: $(dmesg)"
	dmesg | grep -q 'probe with driver virtio_blk failed' || fail "no word of the bus for $2"
	blkdev_stop bad
}
refused 'blk_size is 513, ' '"config": {"blk_size": 513}'
refused 'blk_size is 0, ' '"config_size": 8, "without": ["mq"]'
refused 'capacity is 9223372036854775808, ' '"config": {"capacity": 9223372036854775808}'
refused 'size_max is 100, ' '"features": ["size_max"], "config": {"size_max": 100}'
refused 'physical_block_exp is 200, ' '"features": ["topology"], "config": {"physical_block_exp": 200}'
refused 'zero queues' '"config": {"num_queues": 0}'
refused 'queue size is 2, ' '"ring": 2'
refused 'max_secure_erase_seg is 0, ' '"features": ["secure_erase"], "config": {"max_secure_erase_seg": 0}'
zones='"zones": {"size": 8192}, "config":'
refused 'zoned.zone_sectors is 5, ' "$zones"' {"zone_sectors": 5}'
refused 'zoned.write_granularity is 0, ' "$zones"' {"write_granularity": 0}'
refused 'zoned.max_append_sectors is 0, ' "$zones"' {"max_append_sectors": 0}'
refused 'zoned.model is 9, ' "$zones"' {"zone_model": 9}'
# More queues than the device has virtqueues, though there are CPUs for them.
refused 'probe with driver virtio_blk failed' '"config": {"num_queues": 65535}'

# Strange, but a disk: no segments, a capacity that the data does not have.
blkdev_start odd '"config": {"seg_max": 0, "capacity": 1099511627776}'
wait_for 10 disk odd >/dev/null || fail "no disk"
d=$(disk odd)
same max_segments "$(read_attr "$d" max_segments)" 1
dd if=/dev/zero of="/dev/$d" bs=64k count=1 oflag=direct conv=notrunc status=none
fails dd if="/dev/$d" of=/dev/null bs=4k count=1 skip=$((1 << 30)) iflag=direct status=none
# It grows, it shrinks to nothing that makes sense, it comes back.
blkdev odd capacity 65536
wait_for 10 told 'new size: 65536 512-byte' || fail "the new size is not told: $(dmesg)"
blkdev odd config capacity 18446744073709551615
wait_for 10 told 'capacity is 18446744073709551615, .* the old size stays' || fail "no message: $(dmesg)"
same "the old size" "$(blockdev --getsz "/dev/$d")" 65536
blkdev odd capacity 131072
wait_for 10 told 'new size: 131072 512-byte' || fail "the last size is not told: $(dmesg)"
blkdev_stop odd
