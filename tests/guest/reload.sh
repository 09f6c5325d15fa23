# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# insmod, I/O, rmmod: 50 times, half of them with the other mode in between; nothing is left over.
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
for i in $(seq 45); do
	case $wanted:$((i % 2)) in
	request:1) MODE=bio ;;
	bio:1) MODE=request ;;
	*) MODE=$wanted ;;
	esac
	round
done
MODE=$wanted
lost=$((before - $(free_kb)))
echo "memory lost in 45 rounds: $lost kB"
((lost < 16384)) || fail "45 rounds lost $lost kB of memory"
