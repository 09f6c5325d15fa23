# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# 40 disks at once: vda to vdz, then vdaa on; 16 minor numbers each; each answers with its own data.
names=({a..z} a{a..n})
same "the count of disks" "$(find /sys/block -maxdepth 1 -name 'vd*' | wc -l)" 40
IFS=: read -r major _ </sys/block/vda/dev
for i in "${!names[@]}"; do
	d=vd${names[i]}
	same "/sys/block/$d/dev" "$(<"/sys/block/$d/dev")" "$major:$((i * 16))"
	printf '%-512s' "disk $d" | dd of="/dev/$d" oflag=direct bs=512 count=1 status=none
done
for name in "${names[@]}"; do
	same "what vd$name holds" "$(dd if="/dev/vd$name" iflag=direct bs=512 count=1 status=none | tr -s ' ')" "disk vd$name "
done
