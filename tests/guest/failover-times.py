# SPDX-License-Identifier: GPL-2.0
"""failover-times.py KILLS SLOW LIMIT: the longest I/O of each kill, by kind and unit; fails if one took longer than LIMIT,
but for kills of the kind `target`, where QEMU has no limit.

KILLS has lines KIND WAY TIME, of which the last one ends the time of the one before; SLOW is what failover.py wrote.
"""

import statistics
import sys

kills = [(kind, way, float(at)) for kind, way, at in map(str.split, open(sys.argv[1], encoding="ascii"))]
slow = [(unit, float(at), float(took)) for unit, at, took in map(str.split, open(sys.argv[2], encoding="ascii"))]
limit = float(sys.argv[3])
found: dict[tuple[str, str], list[float]] = {}
late = False
for number, ((kind, way, begin), (*_, end)) in enumerate(zip(kills, kills[1:]), -1):
    for unit in ("file", "shared"):
        gap = max((took for name, at, took in slow if name == unit and at < end and at + took > begin), default=0)
        found.setdefault((kind, unit), []).append(gap)
        if gap > limit and kind != "target":
            print(f"kill {number}, {kind} of {way}: I/O to {unit} took {gap:.1f} s")
            late = True
print("the longest I/O of a kill, in seconds (0.0: less than 0.1):")
print(f"{'kind':10} {'unit':10} {'kills':>5} {'least':>6} {'median':>6} {'most':>6}")
for (kind, unit), gaps in sorted(found.items()):
    print(f"{kind:10} {unit:10} {len(gaps):5} {min(gaps):6.1f} {statistics.median(gaps):6.1f} {max(gaps):6.1f}")
sys.exit(late)
