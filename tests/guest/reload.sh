# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# insmod, I/O, rmmod: 20 times, or 50, half of them with the other mode in between; nothing is left over.
# driver: manual
# limit: 600
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
	dd if="/dev/$(disk data4k)" of=/dev/null bs=4k count=4 status=none
	unload
}
for _ in $(seq 5); do
	round
done
before=$(free_kb)
wanted=$MODE
rounds=$((15 * VSR_ROUNDS))
for i in $(seq $rounds); do
	case $wanted:$((i % 2)) in
	request:1) MODE=bio ;;
	bio:1) MODE=request ;;
	*) MODE=$wanted ;;
	esac
	round
done
MODE=$wanted
lost=$((before - $(free_kb)))
echo "memory lost in $rounds rounds: $lost kB"
((lost < 16384 * rounds / 45)) || fail "$rounds rounds lost $lost kB of memory"
