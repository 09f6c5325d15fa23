# SPDX-License-Identifier: GPL-2.0
"""What must not be found in a guest's kernel log."""

import re
from collections.abc import Iterable

_BAD = re.compile(
    r"WARNING:|\bWARN\b|\bBUG\b|\bOops\b|general protection|Kernel panic|"
    r"KASAN|KCSAN: data-race|KFENCE|UBSAN|lockdep|possible (circular|recursive) locking|"
    r"hung task|blocked for more than|soft lockup|hard LOCKUP|rcu: INFO|INFO: rcu|"
    r"Call Trace|refcount_t|list_(add|del) corruption|"
    r"slab-use-after-free|double free|Bad page|scheduling while atomic|sleeping function called|"
    r"module verification failed: .*refused|virtio.*refused|DMA-API"
)

# A report of KCSAN lies between two lines of these. The kernel has races of its own; ours are those whose stacks have
# functions of virtio or of the library, or of one of our modules.
_RULER = "=" * 40
_RACE = "BUG: KCSAN: "
_OURS = re.compile(r"virtio|vring|\bvp_|rust_storage|\[rust_\w+\]")


def _without_foreign_races(lines: Iterable[str]) -> list[str]:
    kept: list[str] = []
    report: list[str] | None = None
    for line in lines:
        if report is None and _RACE in line:
            report = []
        if report is None:
            kept.append(line)
            continue
        report.append(line)
        if _RULER in line:
            if any(_OURS.search(entry) for entry in report):
                kept += report
            report = None
    # A log that ends in a report does not tell whose it is.
    return kept + (report or [])


def problems(lines: Iterable[str], expected: Iterable[str]) -> list[str]:
    """The lines that tell of trouble and that no expected pattern covers."""
    allowed = [re.compile(pattern) for pattern in expected]
    return [
        line.strip()
        for line in _without_foreign_races(lines)
        if _BAD.search(line) and not any(pattern.search(line) for pattern in allowed)
    ]
