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
_OURS = re.compile(r"virtio|virtq|vring|\bvp_|rust_storage|\[rust_\w+\]")
# One of lockdep ends with the stack of who took the lock. VDUSE takes this lock with interrupts on, and under the lock of a
# driver's queue, which interrupts of other devices take. Nothing can come of that, but lockdep knows all queues by one name.
_LOCKS = "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected"
_UNSAFE = "which became HARDIRQ-irq-unsafe at:"
_STACK_END = "</TASK>"
_THEIRS = "domain->iotlb_lock"
_FRAME = re.compile(r"\]\s+(\? )?[\w.]+\+0x|Call Trace:")


def _is_of_vduse(report: list[str]) -> bool:
    """Whether the lock that is taken with interrupts on is VDUSE's: it is named before the line that says where."""
    at = next((number for number, line in enumerate(report) if _UNSAFE in line), 0)
    return any(_THEIRS in line for line in report[max(at - 3, 0) : at])


def _without_foreign_reports(lines: Iterable[str]) -> list[str]:
    kept: list[str] = []
    report: list[str] = []
    for line in lines:
        if not report and _RACE not in line and _LOCKS not in line:
            kept.append(line)
            continue
        report.append(line)
        if _RACE in report[0] and _RULER in line:
            kept += report if any(_OURS.search(entry) for entry in report) else []
        elif _RACE not in report[0] and _STACK_END in line:
            # In the midst of it, others may have something to say.
            kept += [entry for entry in report[1:] if not _FRAME.search(entry)] if _is_of_vduse(report) else report
        else:
            continue
        report = []
    # A log that ends in a report does not tell whose it is.
    return kept + report


def problems(lines: Iterable[str], expected: Iterable[str]) -> list[str]:
    """The lines that tell of trouble and that no expected pattern covers."""
    allowed = [re.compile(pattern) for pattern in expected]
    return [
        line.strip()
        for line in _without_foreign_reports(lines)
        if _BAD.search(line) and not any(pattern.search(line) for pattern in allowed)
    ]
