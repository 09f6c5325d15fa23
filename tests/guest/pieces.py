# SPDX-License-Identifier: GPL-2.0
"""pieces.py DISK SECTOR MAX: write memory of which some pages lie side by side, and print the pieces of MAX bytes at most that it
has, as the device should see them."""

import contextlib
import ctypes
import mmap
import os
import struct
import sys

PAGES = 32
TRIES = 200


def frames(address: int) -> list[int]:
    """Where the pages at an address lie."""
    with open("/proc/self/pagemap", "rb") as pagemap:
        pagemap.seek(address // mmap.PAGESIZE * 8)
        entries = struct.unpack(f"{PAGES}Q", pagemap.read(8 * PAGES))
    return [entry & (1 << 55) - 1 for entry in entries]


def address_of(buffer: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


disk, sector, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fd = os.open(disk, os.O_WRONLY | os.O_DIRECT)
kept = []
for _ in range(TRIES):
    buffer = mmap.mmap(-1, PAGES * mmap.PAGESIZE)
    kept.append(buffer)
    with contextlib.suppress(OSError):  # a kernel that has no huge pages
        buffer.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(PAGES):
        buffer[page * mmap.PAGESIZE] = 1
    pages = frames(address_of(buffer))
    neighbours = sum(after == before + 1 for before, after in zip(pages, pages[1:]))
    # Some of both kinds.
    if 4 <= neighbours < PAGES - 1:
        break
else:
    sys.exit("no memory with some pages side by side")
pieces = [mmap.PAGESIZE]
for before, after in zip(pages, pages[1:]):
    if after == before + 1 and pieces[-1] + mmap.PAGESIZE <= most:
        pieces[-1] += mmap.PAGESIZE
    else:
        pieces.append(mmap.PAGESIZE)
if os.pwrite(fd, buffer, sector * 512) != len(buffer):
    sys.exit("a short write")
print(",".join(map(str, pieces)))
