# SPDX-License-Identifier: GPL-2.0
"""Fill a slow disk's ring with blocking reads, then try non-blocking ones."""

import mmap
import os
import sys
import threading
import time

fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)


def blocking(index: int) -> None:
    if os.preadv(fd, [mmap.mmap(-1, 4096)], index * 4096) != 4096:
        failures.append(f"read {index} was short")


failures: list[str] = []
threads = [threading.Thread(target=blocking, args=(index,)) for index in range(24)]
for thread in threads:
    thread.start()
time.sleep(0.3)

again, longest = 0, 0.0
buffer = mmap.mmap(-1, 4096)
for attempt in range(20):
    begin = time.monotonic()
    try:
        os.preadv(fd, [buffer], (100 + attempt) * 4096, os.RWF_NOWAIT)
    except BlockingIOError:
        again += 1
        longest = max(longest, time.monotonic() - begin)
for thread in threads:
    thread.join()
print(f"{again} of 20 said EAGAIN, the longest after {longest * 1000:.0f} ms")
if failures:
    sys.exit("; ".join(failures))
if again == 0:
    sys.exit("no read said EAGAIN though the ring was full")
# A refused read that had waited for a slot would have waited 100 ms and more, each time.
if longest > 1:
    sys.exit("a non-blocking read blocked")
