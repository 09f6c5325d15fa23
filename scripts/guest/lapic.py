# SPDX-License-Identifier: GPL-2.0
"""Whether the emulator lost an end of interrupt.

QEMU 10.0's TCG does so once in many hours, with a thread for each CPU, most likely where devices are plugged or reset. That CPU then
believes for ever that it serves the interrupt, gets none of the same priority or below, and idles; a device whose interrupt it was to
get is never heard of again, be it the guest's root. No kernel halts while it serves an interrupt: so it is proven, and the guest's
drivers have no part in it.
"""

import re

from .qmp import Qmp, QmpError

# Between two looks, in seconds, and how many have to find the same.
PERIOD = 20
LOOKS = 4


def in_service(qmp: Qmp, cpus: int) -> str:
    """The interrupts that halted CPUs serve, "" if there are none."""

    def monitor(line: str) -> str:
        return qmp.run("human-monitor-command", **{"command-line": line}).replace("\r", "")

    try:
        registers = monitor("info registers -a")
        halted = re.findall(r"^CPU#(\d+)$(?:(?!^CPU#).)*?\bHLT=1", registers, re.M | re.S)
        served = {cpu: serves(monitor(f"info lapic {cpu}")) for cpu in halted if int(cpu) < cpus}
    except QmpError:
        return ""
    return ", ".join(f"CPU {cpu}: interrupt {what}" for cpu, what in served.items() if what)


def serves(told: str) -> str:
    """What `info lapic` tells of the interrupts in service."""
    found = re.search(r"^ISR\s+(\d[\d ]*)", told, re.M)
    return found[1].strip() if found else ""


class Looks:
    """Looks now and then, and tells what was the same each time."""

    def __init__(self) -> None:
        self._next = 0.0
        self._last = ""
        self._same = 0

    def look(self, qmp: Qmp, cpus: int, now: float) -> str:
        if now < self._next:
            return ""
        self._next = now + PERIOD
        found = in_service(qmp, cpus)
        self._same = self._same + 1 if found == self._last else 1
        self._last = found
        return found if self._same >= LOOKS else ""
