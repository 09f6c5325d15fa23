# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Discarded sectors go back to the host; zeroes are written with and without that; nothing else changes.
d=$(disk thin)
(($(read_attr "$d" discard_max_bytes) > 0)) || fail "no discard"
(($(read_attr "$d" write_zeroes_max_bytes) > 0)) || fail "no write zeroes"
fill()
{
	tr '\0' x </dev/zero | dd of="/dev/$d" bs=1M count=16 oflag=direct iflag=fullblock conv=fsync status=none
}
# holds BYTE OFFSET LENGTH (MiB): all of it is this byte
holds()
{
	[[ $(dd if="/dev/$d" bs=1M skip="$2" count="$3" iflag=direct status=none | tr -d "$1" | wc -c) == 0 ]] ||
		fail "$3 MiB at $2 MiB are not all '$1'"
}
# gave_back KIB what the host has less than before the last fill; but for a few blocks, in which its file system notes where the
# rest is: that may be in more pieces now
gave_back()
{
	local given
	sync "/dev/$d"
	given=$((full - $(host allocated thin)))
	((given > $1 - 64 && given < $1 + 64)) || fail "KiB given back to the host: $given, not $1"
}
discards()
{
	awk -v d="$d" '$3 == d { print $15, $17 }' /proc/diskstats
}
fill
full=$(host allocated thin)
((full >= 16384)) || fail "the host has $full KiB of 16 MiB"
read -r n0 s0 < <(discards)
blkdiscard -o 4M -l 4M "/dev/$d"
read -r n1 s1 < <(discards)
((n1 > n0)) || fail "no discard was counted"
same "sectors discarded" $((s1 - s0)) 8192
gave_back 4096
holds '\0' 4 4
holds x 0 4
holds x 8 8

fill
gave_back 0
blkdiscard -z -o 8M -l 2M "/dev/$d"
holds '\0' 8 2
holds x 0 8
holds x 10 6
# BLKZEROOUT forbids to unmap, a punched hole asks for it.
gave_back 0
fallocate --punch-hole --offset 12M --length 1M "/dev/$d"
holds '\0' 12 1
holds x 13 3
gave_back 1024

# What a file system does with it.
mkfs.ext4 -q -F "/dev/$d"
mount "/dev/$d" /mnt
dd if=/dev/urandom of=/mnt/file bs=1M count=32 conv=fsync status=none
cp /mnt/file /mnt/keep
sync -f /mnt
sum=$(sha256sum </mnt/keep)
full=$(host allocated thin)
rm /mnt/file
sync -f /mnt
fstrim /mnt
now=$(host allocated thin)
((full - now > 28000)) || fail "fstrim gave back $((full - now)) KiB of 32 MiB"
umount /mnt
mount "/dev/$d" /mnt
same "the file that stays" "$(sha256sum </mnt/keep)" "$sum"
umount /mnt
