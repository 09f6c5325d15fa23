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
# By one program: a thousand times dd would take a minute.
python3 - /dev/sd* <<'P' || fail "not all can be read"
import mmap, os, sys
page = mmap.mmap(-1, 4096)
for name in sys.argv[1:]:
    disk = os.open(name, os.O_RDONLY | os.O_DIRECT)
    assert os.preadv(disk, [page], 0) == 4096, name
    os.close(disk)
print(f"{len(sys.argv[1:])} disks were read")
assert len(sys.argv[1:]) == 1000
P
begin=$EPOCHREALTIME
unload
echo "gone after $(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $begin }") s"
same "disks that are left" "$(find /sys/block -maxdepth 1 -name 'sd*' | wc -l)" 0
