# SPDX-License-Identifier: GPL-2.0
"""campaign.py NAME COUNT SEED DISK FUNCTION RESET WORD FOLDER...: faults in random order, and the programs that must not notice.

NAME is the device's on the host; "qemu" is QEMU's own. FUNCTION is the disk's PCI function in sysfs. WORD, written to RESET, is the
operator's reset. /tmp/NAME has a line for each fault in the end: which, and how long programs waited (see `waits`).
"""

import fcntl
import mmap
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

NAME, DISK, FUNCTION, RESET, WORD = sys.argv[1], *sys.argv[4:8]
COUNT, SEED = map(int, sys.argv[2:4])
FOLDERS = sys.argv[8:]
# So many disks share the CPUs: the programs of each do less.
DISKS = int(os.environ["VSR_DISKS"]) + 1
# A word of the only fault to be tried.
ONLY = os.environ["VSR_FAULT"]
SLOWNESS = int(os.environ.get("VSR_SLOWNESS", "1"))
# What is done, and whether the driver sees by itself that something is lost.
ANY = [
    ("command {master}", True),
    ("command 0", True),
    ("pci-reset", True),
]
OURS = [
    ("fault op={op} skip={skip} id=other", True),
    ("fault op={op} skip={skip} id=70000", True),
    ("fault op={op} skip={skip} double", True),
    ("fault op={op} skip={skip} noirq", True),
    ("deaf {few}", True),
    ("fault op={op} skip={skip} swallow", False),
    ("fault op={op} skip={skip} drop", False),
    ("disconnect", True),
    ("kill", True),
]
# Neither vhost-user nor VDUSE has a message for it.
QEMUS = [("needs-reset", True)]
FAULTS = [one for one in ANY + (QEMUS if NAME == "qemu" else OURS) if ONLY in one[0]]


def host(command: str) -> str:
    """Asks the host, as `host` of scripts/guest/lib.sh does, without a shell each time."""
    with open("/tmp/.host.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        port = os.open(os.environ["VSR_PORT"], os.O_RDWR)
        os.write(port, f"{command}\n".encode())
        reply = b""
        while not reply.endswith(b"\n"):
            reply += os.read(port, 4096)
        os.close(port)
    word, _, answer = reply.decode().strip().partition(" ")
    assert word == "ok", f"{command}: {answer}"
    return answer


def blkdev(command: str) -> str:
    """Tells a device of our own."""
    return host(f"blkdev {NAME} {command}")


def wrong() -> tuple[int, float]:
    """How many answers and notifications have met a fault, and when the last one did."""
    state = dict(word.split("=") for word in blkdev("state").split())
    return int(state["wrong"]), time.monotonic() - int(state["ago"]) / 1000


def pci_command(value: int | None = None) -> int:
    """The command register of the PCI function."""
    file = os.open(f"{FUNCTION}/config", os.O_RDWR)
    if value is not None:
        os.pwrite(file, value.to_bytes(2, "little"), 4)
    found = int.from_bytes(os.pread(file, 2, 4), "little")
    os.close(file)
    return found


class Program(threading.Thread):
    """What goes on all the time, and knows how long the disk made it wait."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.count, self.failed, self.stop = 0, "", False
        # When each I/O began and ended, since the last fault.
        self.took: list[tuple[float, float]] = []

    def done(self, begin: float) -> None:
        self.took.append((begin, time.monotonic()))
        self.count += 1

    def waited(self, since: float = 0) -> float:
        """The longest wait of what ended after that time, which alone counts."""
        return max((end - max(begin, since) for begin, end in self.took if end > since), default=0)


class Prober(Program):
    """Reads."""

    def run(self) -> None:
        disk, page = os.open(DISK, os.O_RDONLY | os.O_DIRECT), mmap.mmap(-1, 4096)
        while not self.stop:
            begin = time.monotonic()
            try:
                os.preadv(disk, [page], 4096 * random.randrange(256))
            except OSError as err:
                self.failed = str(err)
                return
            self.done(begin)
            time.sleep(0.01 * DISKS)


class Writer(Program):
    """Appends to files, with fsync; knows what was acknowledged."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder
        self.known: dict[str, int] = {}

    def run(self) -> None:
        while not self.stop:
            path = f"{self.folder}/{self.count % 16}"
            begin = time.monotonic()
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
            self.done(begin)
            time.sleep(0.005 * DISKS)

    def check(self) -> None:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3")
        for path, lines in self.known.items():
            with open(path, "rb") as file:
                found = file.read()
            wanted = b"".join(f"{path} {n:08}\n".encode().ljust(512, b".") for n in range(lines))
            assert found[: len(wanted)] == wanted, f"{path}: an acknowledged write is lost"


def kinds(choose: random.Random) -> Iterator[tuple[str, bool]]:
    """Those of all faults, for ever: each kind once, in random order, and all again."""
    while True:
        yield from choose.sample(FAULTS, len(FAULTS))


def fault(choose: random.Random, words: str, alone: bool, on: int) -> tuple[str, str, float]:
    """Begin one; says of which kind, which, and when the device was well again."""
    op, skip, few = choose.choice(["read", "write"]), choose.randrange(20), choose.randrange(1, 4)
    command = words.format(op=op, skip=skip, few=few, master=on & ~4)
    pause = choose.uniform(0.3, 1.5)
    kind = words.removeprefix("fault op={op} skip={skip} ")
    if command.startswith("command"):
        pci_command(int(command.split()[1]))
        time.sleep(pause)
        pci_command(on)
        return kind, command, time.monotonic()
    if command == "pci-reset":
        Path(FUNCTION, "reset").write_text("1", encoding="ascii")
        return kind, command, time.monotonic()
    if command == "kill":
        blkdev("kill")
        time.sleep(pause)
        blkdev("start")
        return kind, command, time.monotonic()
    if command == "needs-reset":
        # A queue with requests, of a disk or of a host.
        host("needs-reset qemu 0" if DISK.startswith("/dev/vd") else "needs-reset qemu-hba 2")
        return kind, command, time.monotonic()
    before, _ = wrong()
    begin = time.monotonic()
    blkdev(command)
    time.sleep(pause)
    if command == "disconnect":
        return kind, command, begin
    wanted = before + (few if "few" in words else 1)
    while (met := wrong())[0] < wanted:
        assert time.monotonic() < begin + 60 * SLOWNESS, f"{command}: nothing meets it"
        time.sleep(0.05)
    well = met[1]
    # Nothing proves soon that a command is late for ever; the operator says so, if the driver has a way (C has none).
    if not alone and os.path.exists(RESET):
        well = time.monotonic()
        with open(RESET, "w", encoding="ascii") as file:
            file.write(WORD)
    return kind, command, well


def main() -> None:
    choose = random.Random(SEED)
    order = kinds(choose)
    prober, writers = Prober(), [Writer(folder) for folder in FOLDERS]
    programs = [prober, *writers]
    for program in programs:
        program.start()
    waits: list[tuple[str, float, float, float]] = []
    begin = time.monotonic()
    on = pci_command()
    for number in range(COUNT if FAULTS else 0):
        for program in programs:
            program.took = []
        kind, command, well = fault(choose, *next(order), on)
        seen = [program.count for program in programs]
        end = time.monotonic() + 60 * SLOWNESS
        while any(program.count < before + 3 for program, before in zip(programs, seen)):
            failed = next((program.failed for program in programs if program.failed), "")
            assert not failed and time.monotonic() < end, f"{NAME}, fault {number} ({command}): {failed or 'nothing moves'}"
            time.sleep(0.01)
        # Of reads and of what is written and synced, since the device was well; and of reads, whole.
        waits.append((kind, prober.waited(well), max(writer.waited(well) for writer in writers), prober.waited()))
    seconds = time.monotonic() - begin
    for program in programs:
        program.stop = True
    for program in programs:
        program.join(60 * SLOWNESS)
        assert not program.failed, program.failed
        assert not program.is_alive(), "the I/O does not end"
    for writer in writers:
        writer.check()
    written = sum(writer.count for writer in writers)
    # At once: others print as well.
    sys.stdout.write(f"{NAME}: {len(waits)} faults, seed {SEED}, in {seconds:.0f} s; {written} writes with fsync, {prober.count} reads\n")
    Path(f"/tmp/{NAME}").write_text("".join("\t".join(map(str, wait)) + "\n" for wait in waits), encoding="ascii")


main()
