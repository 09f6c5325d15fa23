# SPDX-License-Identifier: GPL-2.0
"""campaign.py DISK FOLDER CONTROL: faults in random order, and the programs that must not notice."""

import mmap
import os
import random
import subprocess
import sys
import threading
import time

DISK, FOLDER, CONTROL = sys.argv[1:]
COUNT, SEED = int(os.environ["VSR_FAULTS"]), int(os.environ["VSR_SEED"])
# What the device does, and whether the driver sees by itself that something is lost.
FAULTS = [
    ("fault op={op} skip={skip} id=other", True),
    ("fault op={op} skip={skip} id=70000", True),
    ("fault op={op} skip={skip} double", True),
    ("fault op={op} skip={skip} noirq", True),
    ("deaf {few}", True),
    ("fault op={op} skip={skip} swallow", False),
    ("fault op={op} skip={skip} drop", False),
]


def control(command: str) -> None:
    subprocess.run([os.environ["VSR_BLKDEV"], "control", CONTROL, *command.split()], check=True)


class Prober(threading.Thread):
    """Reads all the time; knows how long the disk made it wait."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.worst, self.failed, self.stop = 0.0, "", False

    def run(self) -> None:
        disk, page = os.open(DISK, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 4096)
        while not self.stop:
            begin = time.monotonic()
            try:
                os.preadv(disk, [page], 4096 * random.randrange(256))
            except OSError as err:
                self.failed = str(err)
                return
            self.worst = max(self.worst, time.monotonic() - begin)
            time.sleep(0.01)


class Writer(threading.Thread):
    """Appends to files, with fsync; knows what was acknowledged."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.known: dict[str, int] = {}
        self.failed, self.stop, self.count = "", False, 0

    def run(self) -> None:
        while not self.stop:
            path = f"{FOLDER}/{self.count % 16}"
            try:
                with open(path, "ab" if self.count % 256 >= 16 else "wb") as file:
                    number = 0 if self.count % 256 < 16 else self.known[path]
                    file.write(f"{path} {number:08}\n".encode().ljust(512, b"."))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as err:
                self.failed = str(err)
                return
            self.known[path] = number + 1
            self.count += 1
            time.sleep(0.005)

    def check(self) -> None:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3")
        for path, lines in self.known.items():
            with open(path, "rb") as file:
                found = file.read()
            wanted = b"".join(f"{path} {n:08}\n".encode().ljust(512, b".") for n in range(lines))
            assert found[: len(wanted)] == wanted, f"{path}: an acknowledged write is lost"


def main() -> None:
    choose = random.Random(SEED)
    prober, writer = Prober(), Writer()
    prober.start()
    writer.start()
    waits: list[float] = []
    sysfs = f"/sys/block/{os.path.basename(DISK)}/reset"
    for number in range(COUNT):
        words, alone = choose.choice(FAULTS)
        command = words.format(op=choose.choice(["read", "write"]), skip=choose.randrange(20), few=choose.randrange(1, 4))
        pause = choose.uniform(0.3, 1.5)
        prober.worst = 0.0
        control(command)
        time.sleep(pause)
        if not alone:
            # Nothing proves that a command is late for ever; the operator says so.
            with open(sysfs, "w", encoding="ascii") as file:
                file.write("1")
        seen = writer.count
        end = time.monotonic() + 60 * int(os.environ.get("VSR_SLOWNESS", "1"))
        while writer.count < seen + 3:
            failed = prober.failed or writer.failed
            assert not failed and time.monotonic() < end, f"fault {number} ({command}): {failed or 'nothing moves'}"
            time.sleep(0.01)
        control("clear")
        waits.append(prober.worst)
    prober.stop = writer.stop = True
    prober.join(60)
    writer.join(60)
    assert not (prober.failed or writer.failed), prober.failed or writer.failed
    assert not (prober.is_alive() or writer.is_alive()), "the I/O does not end"
    writer.check()
    waits.sort()
    shares = ", ".join(f"{share} %: {waits[min(len(waits) - 1, len(waits) * share // 100)]:.2f} s" for share in (50, 90, 99, 100))
    print(f"{COUNT} faults, seed {SEED}, {writer.count} writes with fsync; the longest wait of a read at a fault: {shares}")


main()
