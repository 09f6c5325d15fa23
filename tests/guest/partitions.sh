# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Partitions: seen, addressed right, counted, and gone with their disk.
d=$(disk data)
partition "$d" 2048 16384 18432 32768
wait_disk "${d}2"
IFS=: read -r major minor <"/sys/block/$d/dev"
same "major:minor of ${d}2" "$(cat "/sys/block/$d/${d}2/dev")" "$major:$((minor + 2))"
start=$(cat "/sys/block/$d/${d}2/start")
verify "${d}2" --direct=1 --ioengine=io_uring --iodepth=8 --bsrange=512-64k --size=2m
printf 'the second partition' | dd of="/dev/${d}2" bs=512 count=1 conv=sync,fsync oflag=direct iflag=fullblock status=none
same "what lies at the start of ${d}2" "$(dd if="/dev/$d" bs=512 skip="$start" count=1 iflag=direct status=none | tr -d '\0')" \
	"the second partition"
size=$(cat "/sys/block/$d/${d}1/size")
fails dd if=/dev/zero of="/dev/${d}1" bs=512 seek="$size" count=1 oflag=direct status=none
partition "$d"
fails test -e "/dev/${d}1"
