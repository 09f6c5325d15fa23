# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# insmod, I/O, rmmod: 20 times, or 50; nothing is left over.
# driver: manual
# limit: 900
free_kb()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^MemFree/ { print $2 }' /proc/meminfo
}
round()
{
	load
	dd if=/dev/zero of="/dev/$(disk data)" bs=64k count=4 oflag=direct status=none
	unload
}
for _ in $(seq 5); do
	round
done
before=$(free_kb)
rounds=$((15 * VSR_ROUNDS))
for _ in $(seq $rounds); do
	round
done
lost=$((before - $(free_kb)))
echo "memory lost in $rounds rounds: $lost kB"
((lost < 16384 * rounds / 45)) || fail "$rounds rounds lost $lost kB of memory"
