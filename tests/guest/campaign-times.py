# SPDX-License-Identifier: GPL-2.0
"""campaign-times.py FILE...: how long the disks of a campaign made programs wait, by disk and by kind of fault.

Each file is what campaign.py wrote of one disk: FAULT, READ, FSYNC, WHOLE, see there.
"""

import sys
from pathlib import Path

SHARES = (50, 90, 99, 100)
NAMES = ("a read", "an fsync", "a read, with the fault")
Rows = list[list[float]]


def line(name: str, rows: Rows) -> str:
    cells = ""
    for column in zip(*rows):
        values = sorted(column)
        cells += " |" + "".join(f" {values[min(len(values) - 1, len(values) * share // 100)]:6.2f}" for share in SHARES)
    return f"{name:20} {len(rows):6}{cells}"


def main() -> None:
    disks: dict[str, Rows] = {}
    kinds: dict[str, Rows] = {}
    for file in map(Path, sys.argv[1:]):
        for row in file.read_text(encoding="ascii").splitlines():
            kind, *times = row.split("\t")
            for rows in (disks.setdefault(file.name, []), kinds.setdefault(kind, [])):
                rows.append([float(time) for time in times])
    every = [row for rows in disks.values() for row in rows]
    print("The longest wait at a fault, in seconds, from the device's recovery on:")
    print(" " * 27 + "".join(f" | {name:27}" for name in NAMES))
    print(f"{'':20} faults" + (" |" + "".join(f" {share:4} %" for share in SHARES)) * len(NAMES))
    for name, rows in [*disks.items(), *sorted(kinds.items()), ("all", every)]:
        print(line(name, rows))
    late = [sum(row[column] > 2 for row in every) for column in (0, 1)]
    print(f"more than 2 s: {late[0]} reads, {late[1]} fsyncs, of {len(every)} faults")


main()
