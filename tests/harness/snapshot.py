# SPDX-License-Identifier: GPL-2.0
"""A guest that is saved amid its I/O.

`restored`: its state goes to a file, QEMU ends, and another QEMU goes on with it and the same images; also with commands that the
host holds, since it has no more room for what they write. `rewound`: another QEMU goes back to a snapshot of memory and disks. As for sleep, all
that it needs is in its initramfs: 9p does not survive that.
"""

import hashlib
import random
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import Driver, Qmp, QmpError, accel, initrd

from . import initramfs
from .profiles import chosen
from .runner import Outcome, conclude, console_verdict, folders

PROFILE = "snapshot"
DEADLINE = 1800
# As tests/initramfs/snapshot knows them.
SERIALS = ("request", "bio", "scsi")
SIZE, BLOCK, FIRST, LAST = 64 << 20, 4096, 4096, 16384
PARAMETERS = {"both": "disks=request=request,bio=bio", "c": ""}
# So many I/Os of a disk are taken for I/O that goes on: more than can have been held.
GOES_ON = 20
# And so many for fio at work: more than what is read of a disk when it comes.
BUSY = 100


class Failed(Exception):
    """What was wrong."""


class Machine:
    """The guest's machine, in one QEMU or in several, one after the other."""

    def __init__(self, command: list[str], console: Path, folder: Path, deadline: float) -> None:
        self.command, self.console, self.folder, self.deadline = command, console, folder, deadline
        self.chooser = random.Random(int(chosen("VSR_SEED")))
        console.with_name("command").write_text(shlex.join(command) + "\n")

    def start(self, *more: str) -> None:
        monitor, monitor_qemu = socket.socketpair()
        self.line, line_qemu = socket.socketpair()
        self.qmp = Qmp(monitor, timeout=300)
        files = [monitor_qemu.fileno(), line_qemu.fileno()]
        command = [
            *self.command,
            "-chardev", f"socket,id=qmp,fd={files[0]}", "-mon", "chardev=qmp,mode=control",
            "-chardev", f"socket,id=line,fd={files[1]}", "-serial", "chardev:line", *more,
        ]  # fmt: skip
        with open(self.console.with_name("qemu.log"), "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, pass_fds=files)
        monitor_qemu.close()
        line_qemu.close()

    def end(self) -> None:
        self.qmp.run("quit")
        self.wait("end of QEMU", lambda: self.process.poll() is not None)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self, start: int = 0) -> str:
        return self.console.read_text(errors="replace")[start:] if self.console.exists() else ""

    def ticks(self, start: int = 0) -> list[int]:
        """Those that the guest has told of."""
        return [int(tick) for tick in re.findall(r"vsr at (\d+)$", self.said(start), re.MULTILINE)]

    def tick(self) -> int:
        """The last one; 0 if there is none yet."""
        return (self.ticks() or [0])[-1]

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        while not done():
            if "vsr not ok" in self.said():
                raise Failed("the guest says that something is wrong")
            if self.process.poll() is not None:
                raise Failed(f"QEMU ended with {self.process.returncode}, waiting for {what}")
            if time.monotonic() > self.deadline:
                self.qmp.show_blocked()
                raise Failed(f"no {what} {DEADLINE} s after the beginning")
            time.sleep(0.1)

    def status(self) -> str:
        return self.qmp.run("query-status")["status"]

    def operations(self) -> dict[str, int]:
        """How many reads and writes each disk had."""
        found = {}
        for device in self.qmp.run("query-blockstats"):
            # A path, or an ID.
            name = device["qdev"].removeprefix("/machine/peripheral/").split("/")[0]
            found[name] = device["stats"]["rd_operations"] + device["stats"]["wr_operations"]
        return found

    def held(self) -> int:
        """How many commands are with a device of the machine, which stands still."""
        path = "/machine/peripheral/{}/virtio-backend"
        queues = [(path.format(name), queue) for name, first in (("request", 0), ("bio", 0), ("hba", 2))
                  for queue in (first, first + 1)]  # fmt: skip
        return sum(self.qmp.run("x-query-virtio-queue-status", path=on, queue=queue)["inuse"] for on, queue in queues)

    def go_on(self) -> float:
        """Let the guest run. Returns how many seconds it took until each disk had I/O again."""
        before, begin = self.operations(), time.monotonic()
        self.qmp.run("cont")
        self.wait("I/O on all disks", lambda: all(n >= before[name] + GOES_ON for name, n in self.operations().items()))
        return time.monotonic() - begin

    def job(self, command: str, **arguments: Any) -> None:
        self.qmp.run(command, **{"job-id": "job", **arguments})
        self.wait(command, lambda: self.qmp.run("query-jobs")[0]["status"] == "concluded")
        error = self.qmp.run("query-jobs")[0].get("error")
        self.qmp.run("job-dismiss", id="job")
        if error:
            raise Failed(f"{command}: {error}")

    def migrate(self, command: str, uri: str) -> dict[str, Any]:
        """Save to, or restore from, a file; what QEMU tells of it."""
        self.qmp.run(command, uri=uri)
        told: dict[str, Any] = {}

        def done() -> bool:
            told.update(self.qmp.run("query-migrate"))
            if told.get("status") == "failed":
                raise Failed(f"{command}: {told.get('error-desc', 'failed')}")
            return told.get("status") == "completed"

        self.wait(command, done)
        return told


# The host's side of each scenario: what is done to a guest that does I/O. Each returns what is to be told of it.


def _fill(machine: Machine, disk: str) -> None:
    """The host has no more room for what is written to a disk: QEMU holds such commands, and the machine stands still."""
    machine.qmp.run(
        "blockdev-add", driver="blkdebug", image=f"{disk}-file",
        **{"node-name": f"{disk}-full", "inject-error": [{"event": "none", "iotype": "write", "errno": 28, "once": False}]},
    )  # fmt: skip
    machine.qmp.run("blockdev-reopen", options=[{"driver": "raw", "node-name": disk, "file": f"{disk}-full"}])
    machine.wait(f"write to {disk}", lambda: machine.status() == "io-error")


def _restored(machine: Machine, rounds: int) -> str:
    state = f"file:{machine.folder / 'state'}"
    seconds, held = [], 0
    stops = ["", *SERIALS] * rounds
    machine.chooser.shuffle(stops)
    for stop in stops:
        time.sleep(machine.chooser.uniform(0.2, 2))
        if stop:
            _fill(machine, stop)
            now = machine.held()
            if not now:
                raise Failed(f"QEMU holds no command of {stop}, though there is no room")
            held += now
        else:
            machine.qmp.run("stop")
        machine.qmp.run("migrate-set-parameters", **{"max-bandwidth": 1 << 32})
        machine.migrate("migrate", state)
        machine.end()
        machine.start("-incoming", "defer")
        machine.migrate("migrate-incoming", state)
        seconds.append(machine.go_on())
    return f"{len(seconds)} times, with {held} commands held; I/O on all disks {max(seconds):.1f} s after it at most"


def _rewound(machine: Machine, rounds: int) -> str:
    seconds = []
    for number in range(2 * rounds):
        time.sleep(machine.chooser.uniform(0.2, 2))
        snapshot = {"tag": f"snapshot{number}", "vmstate": "request", "devices": list(SERIALS)}
        machine.job("snapshot-save", **snapshot)
        begin = machine.tick()
        machine.wait("time to go on", lambda b=begin: machine.tick() >= b + 4)
        machine.qmp.run("stop")
        end, position = machine.tick(), len(machine.said())
        # TCG's counter of cycles never goes back in one QEMU: the guest would see its clock jump forward, and CPUs that hang.
        machine.end()
        machine.start("-S")
        machine.job("snapshot-load", **snapshot)
        seconds.append(machine.go_on())
        machine.wait("time to go back", lambda e=end, p=position: any(tick <= e for tick in machine.ticks(p)))
    return f"{len(seconds)} times; I/O on all disks {max(seconds):.1f} s after it at most"


SCENARIOS = {"restored": _restored, "rewound": _rewound}


def cases(driver: Driver) -> list[str]:
    """A guest has a disk in each mode, and one of the other driver."""
    return [f"{'c' if driver is Driver.C else 'both'}:{scenario}" for scenario in SCENARIOS]


def _command(image: Path, console: Path, machine: str) -> list[str]:
    """QEMU's command line but for the disks. What the guest says goes on in `console`."""
    return [
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-machine", machine, *accel.qemu_args(), "-smp", "2", "-m", "384M",
        "-kernel", str(initrd.kernel_image()), "-initrd", str(image),
        "-append", "console=ttyS0 quiet loglevel=6 no_timer_check tsc=reliable mitigations=off nokaslr panic=-1 "
        "printk.devkmsg=on sysrq_always_enabled sysctl.kernel.hung_task_timeout_secs=60",
        "-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console",
    ]  # fmt: skip


def _disks(folder: Path, scenario: str) -> list[str]:
    arguments, device = [], "num-queues=2"
    if scenario == "rewound":
        device += ",packed=on,iothread=io"
        arguments += ["-object", "iothread,id=io"]
    for name in SERIALS:
        path = folder / name
        if scenario == "rewound":
            # The memory goes to the first of them.
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE)], check=True)
        else:
            with open(path, "wb") as file:
                file.truncate(SIZE)
        driver = "qcow2" if scenario == "rewound" else "raw"
        arguments += ["-blockdev", f"driver=file,filename={path},node-name={name}-file",
                      "-blockdev", f"driver={driver},file={name}-file,node-name={name}"]  # fmt: skip
    for name in ("request", "bio"):
        arguments += ["-device", f"virtio-blk-pci,drive={name},id={name},serial={name},{device}"]
    device = device.replace("num-queues", "num_queues")
    return [*arguments, "-device", f"virtio-scsi-pci,id=hba,{device}",
            "-device", "scsi-hd,bus=hba.0,drive=scsi,id=scsi,serial=scsi"]  # fmt: skip


def _read(path: Path, scenario: str) -> bytes:
    """All that is on a disk."""
    if scenario == "rewound":
        raw = path.with_suffix(".raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", path, raw], check=True)
        path = raw
    return path.read_bytes()


def _check_data(machine: Machine, scenario: str) -> None:
    """What is on the disks is what the guest has written, and read."""
    for name in SERIALS:
        found = re.search(rf"vsr disk {name} (\d+) ([0-9a-f]{{64}})", machine.said())
        if not found:
            raise Failed(f"the guest does not tell of {name}")
        stamps, data = int(found[1]), _read(machine.folder / name, scenario)
        for block in range(FIRST, LAST):
            stamp = (f"{name} {block}\n".encode() * BLOCK)[:BLOCK] if block < stamps else bytes(BLOCK)
            if data[block * BLOCK : (block + 1) * BLOCK] != stamp:
                raise Failed(f"on the host, block {block} of {name} is not what it should be; {stamps} is the first unwritten one")
        if hashlib.sha256(data[: FIRST * BLOCK]).hexdigest() != found[2]:
            raise Failed(f"on the host, {name} has other data than the guest has read")


def _story(machine: Machine, scenario: str) -> str:
    """All that happens to a machine that was started. Returns what is to be told."""
    # What the guest has told before would be told again, and counted, when it goes back.
    machine.wait("time in the guest", lambda: bool(machine.ticks()))
    machine.wait("I/O in the guest", lambda: all(n >= BUSY for n in machine.operations().values()))
    note = SCENARIOS[scenario](machine, int(chosen("VSR_ROUNDS")))
    machine.line.sendall(b"enough\n")
    machine.wait("end of the guest", lambda: machine.process.poll() is not None)
    if machine.process.returncode != 0:
        raise Failed(f"QEMU ended with {machine.process.returncode}")
    _check_data(machine, scenario)
    repaired = re.search(r"vsr repaired (\d+)", machine.said())
    return note + (f"; the watch helped {repaired[1]} times" if repaired else "")


def run(case: str, driver: Driver) -> list[Outcome]:
    begin = time.monotonic()
    mode, scenario = case.split(":")
    name = f"{driver.value}-{PROFILE}-{scenario}"
    log, folder = folders(name)
    console = log / "console.log"
    image = initramfs.write(folder, "snapshot", case, PARAMETERS[mode], ["/usr/bin/fio"], ["virtio_scsi"])
    # More than one machine's worth of how a state is made up.
    kind = {"restored": "pc", "rewound": "q35"}[scenario]
    command = _command(image, console, kind) + _disks(folder, scenario)
    machine = Machine(command, console, folder, begin + DEADLINE)
    machine.start()
    why = note = ""
    try:
        note = _story(machine, scenario)
    except (Failed, QmpError, OSError) as err:
        why = str(err)
    finally:
        machine.kill()
    lines = machine.said().splitlines()
    # The guest knows best, unless it was broken off.
    verdict = console_verdict(lines)
    if not why or "vsr not ok" in machine.said():
        why = verdict or why
    outcome = Outcome(PROFILE, case, not why, why or note, time.monotonic() - begin)
    return conclude(outcome, lines, log, folder)
