# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# 1,000 disks behind one host (the debug kernel: 200): found, used, removed.
# driver: manual
# limit: 900
disks=$((1000 / VSR_SLOWNESS))
begin=$EPOCHREALTIME
before=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo)
load
all()
{
	[[ $(find /sys/block -maxdepth 1 -name 'sd*' | wc -l) == "$disks" ]]
}
wait_for 300 all || fail "there are $(find /sys/block -maxdepth 1 -name 'sd*' | wc -l) disks, not $disks"
echo "$disks disks after $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }") s, $(((before - $(awk \
	'/^MemAvailable/ { print $2 }' /proc/meminfo)) / disks)) kB each"
# By one program: a thousand times dd would take a minute.
python3 - "$disks" /dev/sd* <<'P' || fail "not all can be read"
import mmap, os, sys
page = mmap.mmap(-1, 4096)
_, disks, *names = sys.argv
for name in names:
    disk = os.open(name, os.O_RDONLY | os.O_DIRECT)
    assert os.preadv(disk, [page], 0) == 4096, name
    os.close(disk)
print(f"{len(names)} disks were read")
assert len(names) == int(disks)
P
begin=$EPOCHREALTIME
unload
echo "gone after $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }") s"
same "disks that are left" "$(find /sys/block -maxdepth 1 -name 'sd*' | wc -l)" 0
