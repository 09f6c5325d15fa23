# SPDX-License-Identifier: GPL-2.0
"""Which functions of the guest a job spends its instructions in, exactly: each block of code is counted."""

import bisect
import collections
import re
import struct
import subprocess
from pathlib import Path

from .jobs import JOBS, VARIANTS
from .plugin import plugin
from .run import measure

_BLOCK = struct.Struct("=QQQ")
_KERNEL = 1 << 63


def _counts(path: Path) -> collections.Counter[int]:
    """Instructions by the address of their block."""
    counts: collections.Counter[int] = collections.Counter()
    with open(path, "rb") as counters:
        while chunk := counters.read(_BLOCK.size << 12):
            for address, instructions, runs in _BLOCK.iter_unpack(chunk):
                if address == 0:
                    return counts
                if runs:
                    counts[address] += instructions * runs
    raise SystemExit("bench: the guest ran more code than the plugin has counters for; raise MAX_BLOCKS in tbcount.c")


class _Symbols:
    """What /proc/kallsyms of the guest says, Rust's names in plain words."""

    def __init__(self, path: Path) -> None:
        entries = []
        for line in path.read_text().splitlines():
            address, kind, name, *module = line.split()
            if kind in "tTwW":
                entries.append((int(address, 16), f"{name} {' '.join(module)}".strip()))
        entries.sort()
        self._starts = [address for address, _ in entries]
        text = "\n".join(name for _, name in entries)
        plain = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True)
        self._names = [re.sub(r"\[[0-9a-f]{12,}\]", "", name) for name in plain.stdout.splitlines()]

    def name(self, address: int) -> str:
        if address < _KERNEL:
            return "(user space)"
        return self._names[bisect.bisect_right(self._starts, address) - 1]


def profile(variant: str, job: str, ios: int, top: int, bounce: bool) -> str:
    """A table of the functions that cost most, in instructions an I/O."""
    marks: list[collections.Counter[int]] = []

    print(f"# Profile of {VARIANTS[variant].title}: {JOBS[job].title}, {ios:,} I/Os", flush=True)
    log = measure(
        {"kind": "profile", "variants": [variant], "jobs": [job], "ios": ios, "bounce": bounce},
        deadline=900,
        on_result=lambda result: None,
        plugin=plugin("tbcount"),
        on_mark=lambda log: marks.append(_counts(log / "blocks")),
    )
    start, short, end = marks
    symbols = _Symbols(log / "kallsyms")
    functions: collections.Counter[str] = collections.Counter()
    for address, count in end.items():
        # The long run less the short one: fio's start cancels out.
        extra = (count - short[address]) - (short[address] - start[address])
        functions[symbols.name(address)] += extra
    total = sum(functions.values())
    lines = [f"| instructions an I/O | share | {VARIANTS[variant].title}: {JOBS[job].title} |", "| ---: | ---: | --- |"]
    driver = VARIANTS[variant].driver
    ours = sum(count for name, count in functions.items() if name.endswith(f"[{driver}]"))
    lines.append(f"| {total / ios:,.0f} | 100 % | all |")
    lines.append(f"| {ours / ios:,.0f} | {ours / total:.1%} | all of {driver}.ko |")
    for name, count in functions.most_common(top):
        lines.append(f"| {count / ios:,.1f} | {count / total:.1%} | {name} |")
    return "\n".join(lines)
