# SPDX-License-Identifier: GPL-2.0
"""lies.py DISK RESET WORD: I/O that knows what is on a disk whose device lies, until the file `stop` is there; once `truth` is there,
a last look at all of it. I/O may fail, but what ends well is right, and all of it ends.

RESET is the file, and WORD what to write to it, by which an operator resets the device.
"""

import mmap
import os
import random
import struct
import sys
import threading
import time

DISK, RESET, WORD = sys.argv[1:]
SEED = int(os.environ["VSR_SEED"])
SLOWNESS = int(os.environ.get("VSR_SLOWNESS", "1"))
WORKERS, BLOCKS, SECTOR, MOST = 8, 96, 512, 32
# How long an operator waits, and for how long a reset may take in vain.
PATIENCE, END = 3.0 * SLOWNESS, 120.0 * SLOWNESS


class Worker(threading.Thread):
    """Has sectors of its own, and knows which contents each of them can have."""

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        self.number, self.choose = number, random.Random(SEED * 1000 + number)
        self.disk = os.open(DISK, os.O_RDWR | os.O_DIRECT)
        self.known: list[set[int]] = [{0} for _ in range(BLOCKS)]
        self.version = self.done = self.errors = self.in_a_row = 0
        self.worst = 0.0
        self.since: float | None = None
        self.wrong = ""

    def content(self, block: int, version: int) -> bytes:
        words = struct.pack("<QQQ", self.number, block, version) if version else bytes(24)
        return (words * 22)[:SECTOR]

    def io(self, write: bool, first: int, count: int) -> None:
        page = mmap.mmap(-1, count * SECTOR)
        at = (self.number * BLOCKS + first) * SECTOR
        if write:
            self.version += 1
            page.write(b"".join(self.content(n, self.version) for n in range(first, first + count)))
            for n in range(first, first + count):
                self.known[n].add(self.version)
        self.since = begin = time.monotonic()
        try:
            moved = os.pwrite(self.disk, page, at) if write else os.preadv(self.disk, [page], at)
            self.in_a_row = 0
        except OSError:
            self.errors += 1
            self.in_a_row += 1
            return
        finally:
            self.since = None
            self.done += 1
            self.worst = max(self.worst, time.monotonic() - begin)
        for n in range(first, first + moved // SECTOR):
            if write:
                self.known[n] = {self.version}
                continue
            found = page[(n - first) * SECTOR : (n - first + 1) * SECTOR]
            fits = {version for version in self.known[n] if self.content(n, version) == found}
            if not fits:
                self.wrong = f"worker {self.number}: sector {n} is {found[:24].hex()}, not one of {self.known[n]}"
                raise SystemExit
            self.known[n] = fits

    def run(self) -> None:
        while not os.path.exists("/tmp/lies.stop"):
            count = self.choose.randrange(1, MOST)
            first = self.choose.randrange(BLOCKS - count)
            self.io(self.choose.random() < 0.6, first, count)
            if self.choose.random() < 0.05:
                try:
                    os.fsync(self.disk)
                except OSError:
                    self.errors += 1

    def look(self) -> None:
        for first in range(0, BLOCKS, MOST):
            before = self.errors
            self.io(False, first, MOST)
            assert self.errors == before, f"worker {self.number}: an error of an honest device"


def reset() -> bool:
    try:
        with open(RESET, "w", encoding="ascii") as file:
            file.write(WORD)
    except OSError:
        return False
    return True


def main() -> None:
    workers = [Worker(number) for number in range(WORKERS)]
    resets, last, vain = 0, time.monotonic(), 0.0
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.05)
        now = time.monotonic()
        wrong = [worker.wrong for worker in workers if worker.wrong]
        assert not wrong, wrong
        waits = [now - since for worker in workers if (since := worker.since)]
        given_up = all(worker.in_a_row > 20 for worker in workers)
        if (given_up or max(waits, default=0) > PATIENCE) and now > last + PATIENCE:
            resets += reset()
            last = time.monotonic()
        vain = max(waits, default=0)
        assert vain < END, f"I/O does not end, after {resets} resets by the operator"
    while not os.path.exists("/tmp/lies.truth"):
        time.sleep(0.05)
    for worker in workers:
        worker.look()
        assert not worker.wrong, worker.wrong
    done, errors = sum(worker.done for worker in workers), sum(worker.errors for worker in workers)
    longest = max(worker.worst for worker in workers)
    print(f"seed {SEED}: {done} I/Os, {errors} errors, {resets} resets by the operator, the longest wait {longest:.1f} s")
    assert done > errors, "nothing worked"


main()
