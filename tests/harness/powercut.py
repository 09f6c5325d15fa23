# SPDX-License-Identifier: GPL-2.0
"""Power cuts: what fsync acknowledged is there afterwards, whatever the disk's cache lost.

QEMU is killed at a random moment while the guest writes and acknowledges files. The disk that the
next boot sees is not the file QEMU wrote, for the host's page cache lost nothing: it is rebuilt
from the write log up to the last flush, and some of the later writes. The boot that verifies cut n
runs the load for cut n + 1.
"""

import random
import shutil
import threading
import time
from pathlib import Path

from guest import Driver, Guest
from guest.paths import DISKS

from .profiles import Machine, module_of
from .runner import Outcome, keep, report, say
from .writelog import replay

SCENARIO = "powercut"
FILESYSTEMS = ("ext4", "xfs")
SIZE = 320 << 20


class _Cuts:
    def __init__(self, case: str, driver: Driver, seed: int) -> None:
        self.mode, scenario = case.split(":")
        self.driver, self.module = driver, module_of(case)
        self.name = f"{driver.value}-{scenario}-{self.mode}"
        self.chooser = random.Random(seed)
        self.folder = DISKS / self.name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.images = {fs: self.folder / f"{fs}.state" for fs in FILESYSTEMS}
        for image in self.images.values():
            with open(image, "wb") as file:
                file.truncate(SIZE)
        self.acknowledged: dict[str, dict[str, int]] = {fs: {} for fs in FILESYSTEMS}
        self.verified = 0
        self.output: list[str] = []

    def _handlers(self, last: bool):
        begun = threading.Event()

        def ack(guest: Guest, args: list[str]) -> None:
            fs, name, number = args
            self.acknowledged[fs][name] = int(number)

        def begin(guest: Guest, args: list[str]) -> None:
            if begun.is_set():
                return
            begun.set()
            if not last:
                timer = threading.Timer(self.chooser.uniform(0.2, 6), guest.kill)
                timer.daemon = True
                timer.start()

        def verified(guest: Guest, args: list[str]) -> None:
            self.verified += int(args[0])

        return {"ack": ack, "begin": begin, "verified": verified}

    def boot(self, number: int, last: bool) -> str:
        """One boot: verify, then load until the cut. Returns what was wrong."""
        machine = Machine(self.folder)
        if self.module == "virtio_scsi":
            machine.hba("hba", "num_queues=2")
        for fs in FILESYSTEMS:
            machine.logged(fs, size=SIZE)
            # The running disk starts as a copy of what the last cut left.
            _copy_sparse(self.images[fs], self.folder / f"{fs}.img")
            lines = [f"{name} {value}" for name, value in self.acknowledged[fs].items()]
            (self.folder / f"{fs}.acks").write_text("\n".join(lines))
        self.output.clear()
        guest = Guest(
            self.name,
            'bash "$VSR_SRC/tests/guest/powercut.sh"',
            qemu=machine.qemu,
            driver=self.driver,
            module=self.module,
            env={
                "MODE": self.mode,
                "CUT": str(number),
                "LAST": "1" if last else "",
                "ACKS": str(self.folder),
            },
            handlers=self._handlers(last),
            deadline=600,
            on_line=self.output.append,
        )
        result = guest.run()
        if not result.ok:
            self.output.append(f"logs: {keep(result.log)}")
            return result.why
        if not last and not guest.killed:
            return "the guest ended before the cut"
        for fs in FILESYSTEMS:
            replay(self.folder / f"{fs}-log.img", self.images[fs], self.chooser)
        return ""


def _copy_sparse(source: Path, target: Path) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        new.truncate(SIZE)
        position = 0
        while data := old.read(1 << 20):
            if data.count(0) != len(data):
                new.seek(position)
                new.write(data)
            position += len(data)


def run(case: str, driver: Driver, count: int) -> list[Outcome]:
    begin = time.monotonic()
    seed = random.SystemRandom().randrange(1 << 32)
    cuts = _Cuts(case, driver, seed)
    why = ""
    for number in range(count + 1):
        why = cuts.boot(number, number == count)
        if why:
            why = f"boot {number + 1}: {why}"
            break
        if number:
            say(f"       {case}: cut {number} of {count} verified")
    total = sum(len(acks) for acks in cuts.acknowledged.values())
    if not why and cuts.verified == 0:
        why = "no acknowledged file was there to verify"
    note = why or f"{count} cuts, {total} files acknowledged and found"
    if why:
        for line in cuts.output[-20:]:
            say(f"       | {line}")
        note += f" (seed {seed})"
    else:
        shutil.rmtree(cuts.folder, ignore_errors=True)
    outcome = Outcome(SCENARIO, case, not why, note, time.monotonic() - begin)
    report(outcome)
    return [outcome]
