# SPDX-License-Identifier: GPL-2.0
"""Persistent reservations: two guests at the same time on one logical unit of an iSCSI target.

Each runs its half of tests/guest/reservations.sh; `host meet WORD` in one waits for the other. The second is
killed while it holds the reservation, and comes back when the first has taken it over.
"""

import shutil
import threading
import time

from guest import Driver, Guest, Result
from guest.paths import DISKS

from .iscsi import Target
from .runner import Outcome, keep, report, say

PROFILE = "scsi-iscsi"
SCENARIO = "reservations"
# A boot under TCG, and a machine that others use.
PATIENCE = 240


def case(driver: Driver) -> str:
    return f"{'c' if driver is Driver.C else 'scsi'}:{SCENARIO}"


class _Guests:
    def __init__(self, mode: str, driver: Driver, target: Target) -> None:
        self.mode, self.driver, self.target = mode, driver, target
        self.barrier = threading.Barrier(2)
        self.words: set[str] = set()
        self.results: dict[str, Result] = {}
        self.output: list[str] = []

    def _meet(self, guest: Guest, args: list[str]) -> None:
        """host meet WORD: both have come so far."""
        self.words.add(args[0])
        self.barrier.wait(PATIENCE)
        if self.words != {args[0]}:
            raise RuntimeError(f"the guests are not in step: {self.words}")
        self.barrier.wait(PATIENCE)
        self.words.clear()

    def boot(self, role: str, initiator: str) -> None:
        result = Guest(
            f"{self.driver.value}-{SCENARIO}-{role}",
            'bash "$VSR_SRC/tests/guest/reservations.sh"',
            qemu=[
                "-device", "virtio-scsi-pci,id=hba,num_queues=2",
                "-blockdev", self.target.blockdev("shared", initiator),
                "-device", "scsi-block,bus=hba.0,scsi-id=3,lun=0,drive=shared,id=shared",
            ],
            driver=self.driver,
            module="virtio_scsi",
            env={"MODE": self.mode, "ROLE": role},
            handlers={"meet": self._meet},
            deadline=600,
            on_line=lambda line: self.output.append(f"{role}: {line}"),
        ).run()  # fmt: skip
        self.results[role] = result
        if not result.ok:
            # The other must not wait for it.
            self.barrier.abort()

    def run(self) -> str:
        """Returns what was wrong."""
        second = threading.Thread(target=self._second)
        second.start()
        self.boot("first", "one")
        second.join()
        roles = ("first", "second", "again")
        # Whose guest failed by itself says why; the other has only waited for it.
        bad = [(role, self.results[role].why) for role in roles if role in self.results and self.results[role].why]
        if bad:
            return "; ".join(f"{role}: {why}" for role, why in bad)
        missing = [role for role in roles if role not in self.results]
        return f"no result of {missing}" if missing else ""

    def _second(self) -> None:
        self.boot("second", "two")
        if self.results["second"].ok:
            self.boot("again", "two")


def run(driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    name = case(driver)
    folder = DISKS / f"{driver.value}-{SCENARIO}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = Target(folder, {"shared": 64 << 20})
    try:
        guests = _Guests(name.split(":")[0], driver, target)
        why = guests.run()
    finally:
        target.stop()
    if why:
        for line in guests.output[-30:]:
            say(f"       | {line}")
        for result in guests.results.values():
            say(f"       logs: {keep(result.log)}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    outcome = Outcome(PROFILE, name, not why, why, time.monotonic() - begin)
    report(outcome)
    return [outcome]
