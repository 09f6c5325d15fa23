# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# 1,000 disks behind one host: found, used, removed.
# driver: manual
# limit: 900
begin=$EPOCHREALTIME
before=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
load
all()
{
	[[ $(find /sys/block -maxdepth 1 -name 'sd*' | wc -l) == 1000 ]]
}
wait_for 300 all || fail "there are $(find /sys/block -maxdepth 1 -name 'sd*' | wc -l) disks, not 1000"
echo "1000 disks after $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }") s, $(((before - $(awk \
	'/^MemAvailable/ { print $2 }' /proc/meminfo)) / 1000)) kB each"
for d in /sys/block/sd*; do
	dd if="/dev/${d##*/}" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "$d cannot be read"
done
begin=$EPOCHREALTIME
unload
echo "gone after $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }") s"
same "disks that are left" "$(find /sys/block -maxdepth 1 -name 'sd*' | wc -l)" 0
