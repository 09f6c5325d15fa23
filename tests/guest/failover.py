# SPDX-License-Identifier: GPL-2.0
"""failover.py LOG NAME=DEVICE...: writes to each device and reads back, by four threads, until its standard input ends, and compares.

LOG gets each I/O that took a tenth of a second or more: name, when it began by the monotonic clock, how long it took.
"""

import mmap
import os
import random
import struct
import sys
import threading
import time

BLOCK = 4096
BLOCKS = 256
THREADS = 4


class Fault(Exception):
    """What a program would see as an error, or as lost data."""


class Writer(threading.Thread):
    def __init__(self, name: str, device: str, number: int, log) -> None:
        super().__init__()
        self.called, self.number, self.log = name, number, log
        self.file = os.open(device, os.O_RDWR | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, BLOCK)
        # What each block holds: which write of this thread's.
        self.holds: dict[int, int] = {}
        self.fault = ""
        self.count = 0

    def content(self, block: int, write: int) -> bytes:
        return struct.pack("<IIQ", self.number, block, write) * (BLOCK // 16)

    def timed(self, operation, block: int) -> None:
        begin = time.monotonic()
        try:
            done = operation(self.file, [self.buffer], (self.number * BLOCKS + block) * BLOCK)
        except OSError as err:
            raise Fault(f"{operation.__name__}: {err}") from err
        took = time.monotonic() - begin
        if done != BLOCK:
            raise Fault(f"{operation.__name__}: {done} bytes")
        if took >= 0.1:
            self.log.write(f"{self.called} {begin:.2f} {took:.2f}\n")
            self.log.flush()

    def write(self, block: int) -> None:
        self.count += 1
        self.buffer[:] = self.content(block, self.count)
        self.timed(os.pwritev, block)
        self.holds[block] = self.count

    def verify(self, block: int) -> None:
        self.buffer[:] = bytes(BLOCK)
        self.timed(os.preadv, block)
        if self.buffer[:] != self.content(block, self.holds[block]):
            found = struct.unpack("<IIQ", self.buffer[:16])
            raise Fault(f"block {block} holds {found}, not write {self.holds[block]} of thread {self.number}")

    def run(self) -> None:
        try:
            while not ended.is_set():
                self.write(random.randrange(BLOCKS))
                self.verify(random.choice(list(self.holds)))
                time.sleep(0.03)
            for block in self.holds:
                self.verify(block)
        except Fault as err:
            print(f"{self.called}: {err}", flush=True)
            # Nothing after it counts.
            os._exit(1)


ended = threading.Event()
with open(sys.argv[1], "w", encoding="ascii") as out:
    writers = [Writer(*word.split("="), number, out) for word in sys.argv[2:] for number in range(THREADS)]
    for writer in writers:
        writer.start()
    sys.stdin.read()
    ended.set()
    for writer in writers:
        writer.join()
print(f"{sum(writer.count for writer in writers)} writes, each read again")
