# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What the disk says of itself: serial, size, geometry, topology, limits; as the C driver says it.
geometry()
{
	python3 - "/dev/$1" <<'P'
import fcntl, struct, sys
HDIO_GETGEO = 0x0301
with open(sys.argv[1], "rb") as disk:
    heads, sectors, cylinders, start = struct.unpack("BBHL", fcntl.ioctl(disk, HDIO_GETGEO, bytes(16)))
print(cylinders, heads, sectors)
P
}
d=$(disk data4k)
same serial "$(<"/sys/block/$d/serial")" data4k
same size "$(blockdev --getsize64 "/dev/$d")" $((256 << 20))
same logical_block_size "$(read_attr "$d" logical_block_size)" 4096
d=$(disk geometry)
same "cylinders, heads, sectors" "$(geometry "$d")" "100 8 32"
same physical_block_size "$(read_attr "$d" physical_block_size)" 4096
same minimum_io_size "$(read_attr "$d" minimum_io_size)" 8192
same optimal_io_size "$(read_attr "$d" optimal_io_size)" 65536
same "a serial of 20 bytes" "$(<"/sys/block/$(disk 12345678901234567890)/serial")" 12345678901234567890

# The C driver runs first in this boot and leaves its answers.
for name in data data4k geometry readonly thin; do
	d=$(disk $name)
	for attr in logical_block_size physical_block_size minimum_io_size optimal_io_size max_segments \
		max_segment_size rotational write_cache fua dma_alignment discard_granularity discard_max_bytes \
		discard_max_hw_bytes write_zeroes_max_bytes zoned io_poll; do
		value=$(read_attr "$d" $attr)
		if [[ $name-$attr == data4k-write_zeroes_max_bytes ]]; then
			# C says 2 GiB less a sector, and zeroing more than that at once ends in EIO.
			[[ $MODE == c ]] || same "the odd bytes of write zeroes" $((value % 4096)) 0 >&2
			value=$((value / 4096 * 4096))
		fi
		echo "$name $attr $value"
	done
	echo "$name size $(<"/sys/block/$d/size") geometry $(geometry "$d")"
	echo "$name range $(<"/sys/block/$d/range") ext_range $(<"/sys/block/$d/ext_range")"
	echo "$name cache_type $(<"/sys/block/$d/cache_type")"
done >"/tmp/limits.$MODE"
if [[ -e /tmp/limits.c ]]; then
	diff /tmp/limits.c "/tmp/limits.$MODE" || fail "the limits differ from the C driver's (left)"
fi
