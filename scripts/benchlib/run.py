# SPDX-License-Identifier: GPL-2.0
"""One guest that measures: its machine, its plan, and the results as they come."""

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import Driver, Guest
from guest.modules import OUR_MODULES, build_id, our_module
from guest.paths import CACHE

from .jobs import DISK_GIB, LATENCIES, MANY, MEDIA

# The count of executed instructions is the guest's clock; it jumps while the CPU sleeps.
_ICOUNT = ["-accel", "tcg", "-icount", "shift=0,sleep=off"]

# Nothing shall work in the background: khugepaged alone adds several hundred instructions an I/O to a short run.
_QUIET = ["transparent_hugepage=never"]

# As in a confidential guest, whose memory the host cannot see: all that a device reads or writes is copied to a buffer that it can.
_BOUNCE = ["swiotlb=force"]

Result = dict[str, Any]


class BenchGuest(Guest):
    """With `count`, the guest's clock counts instructions: under TCG even where there is KVM."""

    count = False
    plugin: Path | None = None

    def _command(self, channel: int, monitor: int) -> list[str]:
        command = super()._command(channel, monitor)
        if self.count:
            command[command.index("-accel") : command.index("-smp")] = _ICOUNT
        if self.plugin:
            command += ["-plugin", f"file={self.plugin},out={self.log}/blocks"]
        return command


@functools.cache
def _keep_modules() -> dict[str, str]:
    """Copies of our modules: a build may replace them while the benchmark runs."""
    (CACHE / "guest").mkdir(parents=True, exist_ok=True)
    # A number of a process would not do: each run has its own name space of them.
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=CACHE / "guest"))
    atexit.register(shutil.rmtree, folder)
    modules = {}
    for name in OUR_MODULES:
        copy = Path(shutil.copy(our_module(name), folder))
        modules[name] = {"file": str(copy), "build_id": build_id(copy)}
    return {"BENCH_MODULES": json.dumps(modules)}


def _disks(lockstep: bool, bounce: bool) -> list[str]:
    """Two disks without a medium, one of them behind a SCSI host. In lockstep the device serves a kick before the guest goes on, so that the device's
    speed has no part in the figures; else it works beside the guest, in a thread of its own."""
    thread = "ioeventfd=off" if lockstep else "iothread=io0"
    if bounce:
        thread += ",iommu_platform=on,disable-legacy=on"
    return [
        "-object", "iothread,id=io0",
        "-blockdev", f"driver=null-co,size={DISK_GIB << 30},read-zeroes=on,node-name=null",
        "-device", f"virtio-blk-pci,drive=null,num-queues=1,{thread}",
        "-blockdev", f"driver=null-co,size={DISK_GIB << 30},read-zeroes=on,node-name=null-scsi",
        "-device", f"virtio-scsi-pci,id=hba,num_queues=1,{thread}",
        "-device", "scsi-hd,bus=hba.0,drive=null-scsi",
    ]  # fmt: skip


def _slow_disks() -> list[str]:
    """Disks with two queues that work beside the guest and take their time; the same behind a SCSI host."""
    disks = ["-object", "iothread,id=io0", "-device", "virtio-scsi-pci,id=hba,num_queues=2,iothread=io0"]
    for number, us in enumerate(LATENCIES):
        for name in (f"blk{number}", f"scsi{number}"):
            disks += ["-blockdev", f"driver=null-co,size={DISK_GIB << 30},read-zeroes=on,latency-ns={us * 1000},node-name={name}"]
        disks += [
            "-device", f"virtio-blk-pci,drive=blk{number},num-queues=2,iothread=io0",
            "-device", f"scsi-hd,bus=hba.0,scsi-id={number},drive=scsi{number}",
        ]  # fmt: skip
    return disks


def _many_disks() -> list[str]:
    """Disks with two queues, and as many behind a SCSI host."""
    disks = ["-device", "virtio-scsi-pci,id=hba,num_queues=2"]
    for number in range(MANY):
        for name, device in (("blk", "virtio-blk-pci,num-queues=2"), ("scsi", f"scsi-hd,bus=hba.0,scsi-id={number}")):
            disks += ["-blockdev", f"driver=null-co,size={DISK_GIB << 30},read-zeroes=on,node-name={name}{number}"]
            disks += ["-device", f"{device},drive={name}{number}"]
    return disks


def _media() -> list[str]:
    disks = ["-object", "iothread,id=io0"]
    for number, medium in enumerate(MEDIA):
        disks += medium.qemu(number)
    return disks


def measure(
    plan: dict[str, Any],
    *,
    deadline: float,
    on_result: Callable[[Result], None],
    plugin: Path | None = None,
    on_mark: Callable[[Path], None] | None = None,
    handlers: dict[str, Callable[[Guest, list[str]], str | None]] | None = None,
) -> Path:
    """Carry out a plan (see measure.py) in a guest of its own; returns the folder of its logs."""
    counts = plan["kind"] in ("icount", "profile")
    lockstep = counts or plan["kind"] == "held"
    bounce = plan.get("bounce", False)
    beside = {"exits": _slow_disks, "memory": _many_disks, "paths": _media}.get(plan["kind"])

    def on_line(line: str) -> None:
        if line.startswith("RESULT "):
            on_result(json.loads(line.removeprefix("RESULT ")))
        else:
            print(f"  guest: {line}", flush=True)

    def mark(guest: Guest, _: list[str]) -> None:
        if on_mark:
            on_mark(guest.log)

    guest = BenchGuest(
        f"bench-{plan['kind']}",
        'exec python3 "$VSR_SRC/scripts/benchlib/measure.py"',
        cpus=2 if beside or plan["kind"] == "held" else 1,
        memory="1G",
        cmdline=_QUIET + (_BOUNCE if bounce else []),
        env={"BENCH_PLAN": json.dumps(plan)} | _keep_modules(),
        driver=Driver.RS,
        deadline=deadline,
        handlers={"mark": mark, **(handlers or {})},
        on_line=on_line,
        qemu=beside() if beside else _disks(lockstep, bounce),
    )
    guest.count = counts
    guest.plugin = plugin
    result = guest.run()
    if not result.ok:
        raise SystemExit(f"bench: {result.why}; see {result.place}")
    return result.log
