# SPDX-License-Identifier: GPL-2.0
"""campaign.py DISK CONFIG RESET WORD FOLDER...: faults in random order, and the programs that must not notice.

CONFIG is the configuration space of the disk's PCI function. WORD, written to RESET, is the operator's reset.
"""

import mmap
import os
import random
import subprocess
import sys
import threading
import time

DISK, CONFIG, RESET, WORD, *FOLDERS = sys.argv[1:]
COUNT, SEED = int(os.environ["VSR_FAULTS"]), int(os.environ["VSR_SEED"])
# A word of the only fault to be tried.
ONLY = os.environ["VSR_FAULT"]
SLOWNESS = int(os.environ.get("VSR_SLOWNESS", "1"))
# What the device does, and whether the driver sees by itself that something is lost.
FAULTS = [
    ("fault op={op} skip={skip} id=other", True),
    ("fault op={op} skip={skip} id=70000", True),
    ("fault op={op} skip={skip} double", True),
    ("fault op={op} skip={skip} noirq", True),
    ("deaf {few}", True),
    ("fault op={op} skip={skip} swallow", False),
    ("fault op={op} skip={skip} drop", False),
    ("disconnect", True),
    ("command {master}", True),
    ("command 0", True),
]


def host(command: str) -> None:
    subprocess.run(["bash", "-c", '. "$VSR_GUEST_LIB"; host blkdev campaign "$@"', "host", *command.split()], check=True)


def pci_command(value: int | None = None) -> int:
    """The command register of the PCI function."""
    file = os.open(CONFIG, os.O_RDWR)
    if value is not None:
        os.pwrite(file, value.to_bytes(2, "little"), 4)
    found = int.from_bytes(os.pread(file, 2, 4), "little")
    os.close(file)
    return found


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

    def __init__(self, folder: str) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.known: dict[str, int] = {}
        self.failed, self.stop, self.count = "", False, 0

    def run(self) -> None:
        while not self.stop:
            path = f"{self.folder}/{self.count % 16}"
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


def fault(choose: random.Random, on: int) -> tuple[str, bool]:
    """Begin one; says which, and whether the driver sees by itself that something is lost."""
    words, alone = choose.choice([one for one in FAULTS if ONLY in one[0]])
    command = words.format(op=choose.choice(["read", "write"]), skip=choose.randrange(20), few=choose.randrange(1, 4), master=on & ~4)
    pause = choose.uniform(0.3, 1.5)
    if command.startswith("command"):
        pci_command(int(command.split()[1]))
        time.sleep(pause)
        pci_command(on)
    else:
        host(command)
        time.sleep(pause)
    return command, alone


def main() -> None:
    choose = random.Random(SEED)
    prober, writers = Prober(), [Writer(folder) for folder in FOLDERS]
    programs = [prober, *writers]
    for program in programs:
        program.start()
    waits: list[float] = []
    on = pci_command()
    for number in range(COUNT):
        prober.worst = 0.0
        command, alone = fault(choose, on)
        # Nothing proves that a command is late for ever; the operator says so, if the driver has a way (C has none).
        if not alone and os.path.exists(RESET):
            with open(RESET, "w", encoding="ascii") as file:
                file.write(WORD)
        seen = [writer.count for writer in writers]
        end = time.monotonic() + 60 * SLOWNESS
        while any(writer.count < before + 3 for writer, before in zip(writers, seen)):
            failed = next((program.failed for program in programs if program.failed), "")
            assert not failed and time.monotonic() < end, f"fault {number} ({command}): {failed or 'nothing moves'}"
            time.sleep(0.01)
        host("clear")
        host("deaf 0")
        waits.append(prober.worst)
    for program in programs:
        program.stop = True
    for program in programs:
        program.join(60 * SLOWNESS)
        assert not program.failed, program.failed
        assert not program.is_alive(), "the I/O does not end"
    for writer in writers:
        writer.check()
    waits.sort()
    shares = ", ".join(f"{share} %: {waits[min(len(waits) - 1, len(waits) * share // 100)]:.2f} s" for share in (50, 90, 99, 100))
    written = sum(writer.count for writer in writers)
    print(f"{COUNT} faults, seed {SEED}, {written} writes with fsync; the longest wait of a read at a fault: {shares}")


main()
