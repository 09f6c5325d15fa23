# SPDX-License-Identifier: GPL-2.0
"""An end of interrupt that QEMU lost is found, and nothing else is taken for one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from guest.lapic import LOOKS, PERIOD, Looks, in_service  # noqa: E402
from guest.qmp import QmpError  # noqa: E402


class Monitor:
    """QEMU's, of two CPUs: which are halted, and what their local APICs have in service."""

    def __init__(self, halted: list[int], isr: list[str]) -> None:
        self.halted, self.isr = halted, isr

    def run(self, command: str, **arguments: str) -> str:
        assert command == "human-monitor-command"
        line = arguments["command-line"]
        if line == "info registers -a":
            return "".join(f"\r\nCPU#{n}\r\nRAX=0\r\nA20=1 SMM=0 HLT={int(n in self.halted)}\r\n" for n in (0, 1))
        isr = self.isr[int(line.removeprefix("info lapic "))]
        return f"dumping local APIC state\r\n\r\nISR\t {isr}\r\nIRR\t 251 236\r\n"


class Deaf:
    def run(self, command: str, **arguments: str) -> str:
        raise QmpError("QEMU did not answer in time")


def test_who_is_halted_and_serves():
    assert in_service(Monitor([1], ["(none)", "236 34"]), 2) == "CPU 1: interrupt 236 34"
    assert in_service(Monitor([0, 1], ["(none)", "236(level)"]), 2) == "CPU 1: interrupt 236"
    # It runs, or idles as it should.
    assert in_service(Monitor([], ["33", "236"]), 2) == ""
    assert in_service(Monitor([0, 1], ["(none)", "(none)"]), 2) == ""
    assert in_service(Deaf(), 2) == ""


def test_only_what_lasts_counts():
    stuck, busy = Monitor([1], ["(none)", "236"]), Monitor([1], ["(none)", "(none)"])
    looks = Looks()
    told = [looks.look(stuck, 2, now) for now in range(1000, 1000 + PERIOD * LOOKS)]
    assert [at for at, what in enumerate(told) if what] == [PERIOD * (LOOKS - 1)]

    looks = Looks()
    seen = [stuck] * (LOOKS - 1) + [busy] + [stuck] * (LOOKS - 1)
    assert not any(looks.look(qemu, 2, 1000 + PERIOD * n) for n, qemu in enumerate(seen))
