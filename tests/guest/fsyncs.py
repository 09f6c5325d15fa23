# SPDX-License-Identifier: GPL-2.0
"""fsyncs.py DISK THREADS TIMES: each thread writes 4 KiB, directly, to a MiB of its own, and fsyncs, and so on."""

import mmap
import os
import sys
import threading

disk, threads, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
failed: list[BaseException] = []


def work(number: int) -> None:
    try:
        fd = os.open(disk, os.O_RDWR | os.O_DIRECT)
        page = mmap.mmap(-1, 4096)
        for turn in range(times):
            os.pwritev(fd, [page], (number << 20) + turn % 256 * 4096)
            os.fsync(fd)
    except BaseException as why:  # noqa: BLE001 # it is told below
        failed.append(why)


all_threads = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for thread in all_threads:
    thread.start()
for thread in all_threads:
    thread.join()
if failed:
    sys.exit(f"{len(failed)} threads failed: {failed[0]!r}")
