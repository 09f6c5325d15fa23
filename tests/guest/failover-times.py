# SPDX-License-Identifier: GPL-2.0
"""failover-times.py KILLS SLOW LIMIT: the longest I/O of each kill, by kind and device; fails if one took longer than LIMIT,
but for kills of the kind `target`, where QEMU has no limit.

KILLS has lines KIND WAY TIME, of which the last one ends the time of the one before; SLOW is what failover.py wrote.
"""

import statistics
import sys

kills = [(kind, way, float(at)) for kind, way, at in map(str.split, open(sys.argv[1], encoding="ascii"))]
slow = [(device, float(at), float(took)) for device, at, took in map(str.split, open(sys.argv[2], encoding="ascii"))]
limit = float(sys.argv[3])
found: dict[tuple[str, str], list[float]] = {}
late = False
for number, ((kind, way, begin), (*_, end)) in enumerate(zip(kills, kills[1:]), -1):
    for device in sorted({device for device, *_ in slow}):
        gap = max((took for name, at, took in slow if name == device and at < end and at + took > begin), default=0)
        found.setdefault((kind, device), []).append(gap)
        if gap > limit and kind != "target":
            print(f"kill {number}, {kind} of {way}: I/O to {device} took {gap:.1f} s")
            late = True
print("the longest I/O of a kill, in seconds:")
print(f"{'kind':10} {'device':10} {'kills':>5} {'least':>6} {'median':>6} {'most':>6}")
for (kind, device), gaps in sorted(found.items()):
    print(f"{kind:10} {device:10} {len(gaps):5} {min(gaps):6.1f} {statistics.median(gaps):6.1f} {max(gaps):6.1f}")
sys.exit(late)
