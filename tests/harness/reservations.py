# SPDX-License-Identifier: GPL-2.0
"""Persistent reservations: two guests at the same time on one logical unit of an iSCSI target.

Each runs its half of tests/guest/reservations.sh. The second is killed while it holds the reservation, and comes back when the
first has taken it over.
"""

import shutil
import time

from guest import Driver
from guest.paths import DISKS

from .iscsi import Target
from .pairs import Boot, Pair
from .runner import Outcome

PROFILE = "scsi-iscsi"
SCENARIO = "reservations"


def case(driver: Driver) -> str:
    return f"{'c' if driver is Driver.C else 'scsi'}:{SCENARIO}"


def run(driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    name = case(driver)
    folder = DISKS / f"{driver.value}-{SCENARIO}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = Target(folder, {"shared": 64 << 20})

    def boot(role: str, initiator: str) -> Boot:
        return Boot(
            role,
            ["-device", "virtio-scsi-pci,id=hba,num_queues=2",
             "-blockdev", target.blockdev("shared", initiator),
             "-device", "scsi-block,bus=hba.0,scsi-id=3,lun=0,drive=shared,id=shared"],
        )  # fmt: skip

    pair = Pair(folder.name, "reservations.sh", driver, {"MODE": name.split(":")[0]}, module="virtio_scsi")
    try:
        why = pair.run([boot("first", "one")], [boot("second", "two"), boot("again", "two")])
    finally:
        target.stop()
    return pair.conclude(Outcome(PROFILE, name, not why, why, time.monotonic() - begin), folder)
