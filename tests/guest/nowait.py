# SPDX-License-Identifier: GPL-2.0
"""nowait.py DISK: non-blocking reads of a disk whose queue of CPU 0 is full; each must be refused."""

import mmap
import os
import sys

COUNT = 20

os.sched_setaffinity(0, {0})
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, 4096)
again = 0
for attempt in range(COUNT):
    try:
        os.preadv(fd, [buffer], (100 + attempt) * 4096, os.RWF_NOWAIT)
    except BlockingIOError:
        again += 1
if again < COUNT:
    sys.exit(f"{again} of {COUNT} reads with RWF_NOWAIT said EAGAIN, the others were done though the queue was full")
