# SPDX-License-Identifier: GPL-2.0
"""readers.py DISK COUNT: so many threads on CPU 0 read a block each at the same time; all must have it."""

import mmap
import os
import sys
import threading

disk, count = sys.argv[1], int(sys.argv[2])
os.sched_setaffinity(0, {0})
fd = os.open(disk, os.O_RDONLY | os.O_DIRECT)
failures: list[str] = []


def read(index: int) -> None:
    try:
        if os.preadv(fd, [mmap.mmap(-1, 4096)], index * 8192) != 4096:
            failures.append(f"read {index} was short")
    except OSError as err:
        failures.append(f"read {index}: {err.strerror}")


threads = [threading.Thread(target=read, args=(index,)) for index in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit(f"{len(failures)} of {count} reads failed: " + "; ".join(failures[:3]))
