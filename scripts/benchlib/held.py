# SPDX-License-Identifier: GPL-2.0
"""How many instructions a driver runs with its queue's lock held: the host's side of held.c."""

import mmap
import struct
from collections.abc import Callable
from pathlib import Path

from guest import Guest

from .jobs import JOBS, VARIANTS
from .plugin import plugin
from .run import Result, measure

_FUNCTIONS = 16
_CPUS = 16
# As in held.c.
_HEAD = struct.Struct(f"=QQQ{_FUNCTIONS}Q{_FUNCTIONS}Q")
_CPU = struct.Struct("=8Q")

# Those that a module calls, of its own or through the Rust crate's helpers.
_KINDS = ("", "_irq", "_irqsave", "_bh")
_LOCKS = [f"_raw_spin_lock{kind}" for kind in _KINDS] + [
    "rust_helper_spin_lock", "rust_helper_spin_lock_irq_disable", "rust_helper_spin_lock_irqsave",
]  # fmt: skip
_UNLOCKS = [f"_raw_spin_unlock{kind}" for kind in ("", "_irq", "_irqrestore", "_bh")] + [
    "rust_helper_spin_unlock", "rust_helper_spin_unlock_irq_enable", "rust_helper_spin_unlock_irqrestore",
]  # fmt: skip


def _head(kallsyms: Path, module: str) -> bytes:
    """Where the module and the functions of locks are."""
    functions: dict[str, int] = {}
    inside = []
    for line in kallsyms.read_text().splitlines():
        address, kind, name, *of = line.split()
        if kind not in "tTwW":
            continue
        if of == [f"[{module}]"]:
            inside.append(int(address, 16))
        elif not of:
            functions[name] = int(address, 16)

    def addresses(names: list[str]) -> list[int]:
        found = [functions[name] for name in names if name in functions]
        return found + [0] * (_FUNCTIONS - len(found))

    # Behind the last function there is as much as a page.
    return _HEAD.pack(1, min(inside), max(inside) + 4096, *addresses(_LOCKS), *addresses(_UNLOCKS))


def _file(guest: Guest) -> Path:
    return guest.log / "blocks"


def _where(guest: Guest, args: list[str]) -> None:
    """`host held-in MODULE`: it was loaded, and the list of the guest's symbols is there."""
    with open(_file(guest), "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        head = _head(guest.log / "kallsyms", args[0])
        shared[8 : len(head)] = head[8:]
        shared[:8] = head[:8]


def _counters(guest: Guest, _: list[str]) -> str:
    """`host held`: instructions with the lock held on all CPUs, and how often it was taken."""
    data = _file(guest).read_bytes()[_HEAD.size :]
    cpus = list(_CPU.iter_unpack(data[: _CPU.size * _CPUS]))
    return " ".join(str(sum(cpu[column] for cpu in cpus)) for column in range(2))


def held(variants: list[str], jobs: list[str], ios: int, on_result: Callable[[Result], None]) -> None:
    """Each driver with two CPUs on one queue."""
    plan = {"kind": "held", "variants": variants, "jobs": jobs, "ios": ios}
    measure(
        plan,
        deadline=300 + len(variants) * (30 + len(jobs) * (60 + ios / 25)),
        on_result=on_result,
        plugin=plugin("held"),
        handlers={"held-in": _where, "held": _counters},
    )


def held_table(results: list[Result]) -> str:
    """A row for each job and driver, as a multiple of the C driver's."""
    lines = [
        "| job | driver | with the lock held | × C | how often taken |",
        "| --- | --- |" + " ---: |" * 3,
    ]
    by = {(result["job"], result["variant"]): result for result in results}
    for (job, name), mine in sorted(by.items(), key=lambda item: list(JOBS).index(item[0][0])):
        variant = VARIANTS[name]
        base = "c" + ("-scsi" if variant.scsi else "") + ("-none" if variant.scheduler or variant.use_bio == "1" else "")
        other = by.get((job, base), mine)
        cells = [f"{mine['held']:,.0f}", f"{mine['held'] / other['held']:.2f}", f"{mine['sections']:.2f}"]
        lines.append(f"| {JOBS[job].title} | {variant.title} ({mine['scheduler']}) | {' | '.join(cells)} |")
    return "\n".join(lines)
