# SPDX-License-Identifier: GPL-2.0
"""Vectored direct I/O whose pieces do not fit one request of the device."""

import mmap
import os
import random
import sys

fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
generator = random.Random(7)


def pieces(memory: mmap.mmap, sizes: list[int], gap: int) -> list[memoryview]:
    """Views that are `gap` bytes apart, so that no two of them merge."""
    view, at, parts = memoryview(memory), 0, []
    for size in sizes:
        parts.append(view[at : at + size])
        at += size + gap
    return parts


small = len(sys.argv) > 2
cases = [
    ([512] * 700, 512),  # more segments than any ring here holds
    ([4096] * 300, 4096),
    ([512, 65536] * 8, 512),
    ([2 << 20], 0),  # larger than one request may be
]
if small:
    cases = [([512] * 40, 512), ([4096] * 12, 4096), ([65536], 0)]
for sizes, gap in cases:
    total = sum(sizes)
    data = generator.randbytes(total)
    memory = mmap.mmap(-1, sum(sizes) + gap * len(sizes) + 4096)
    parts = pieces(memory, sizes, gap)
    at = 0
    for part in parts:
        part[:] = data[at : at + len(part)]
        at += len(part)
    if os.pwritev(fd, parts, 1 << 20) != total:
        sys.exit(f"a write of {len(sizes)} pieces was short")
    back = mmap.mmap(-1, total)
    if os.preadv(fd, [back], 1 << 20) != total or back[:] != data:
        sys.exit(f"{len(sizes)} pieces of {sizes[0]} bytes read back differently")
    for part in parts:
        part[:] = bytes(len(part))
    if os.preadv(fd, parts, 1 << 20) != total or b"".join(parts) != data:
        sys.exit(f"reading into {len(sizes)} pieces of {sizes[0]} bytes differs")
