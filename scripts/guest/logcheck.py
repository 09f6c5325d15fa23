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


def problems(lines: Iterable[str], expected: Iterable[str]) -> list[str]:
    """The lines that tell of trouble and that no expected pattern covers."""
    allowed = [re.compile(pattern) for pattern in expected]
    return [
        line.strip()
        for line in lines
        if _BAD.search(line) and not any(pattern.search(line) for pattern in allowed)
    ]
