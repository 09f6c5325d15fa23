# SPDX-License-Identifier: GPL-2.0
"""Guests that virtme-ng boots: its own init, udev's coldplug, and our modules where an installation has them.

All other profiles boot by a launcher of ours, which has the script running in 5 s instead of 25; these show that the
drivers do the same in guests as people have them who know virtme-ng, by the same scenarios and the same case runner.
"""

import os
import shlex
import socket
import threading
from pathlib import Path

from guest import Guest, accel
from guest.machine import BOOT_LIMIT
from guest.paths import SRC

from .profiles import Machine, Profile

# virtme-ng's own devices have the slots before.
FIRST_SLOT = 0x10

_SCRIPT = """
set -a
. {log}/env
set +a
ln -s {log} /run/vsr
for port in /sys/class/virtio-ports/*; do
	[ "$(cat "$port/name")" != vsr.host ] || export VSR_PORT=/dev/${{port##*/}}
done
. "$VSR_GUEST_LIB"
cd /tmp
echo "$VSR_LOGLEVEL" >/proc/sys/kernel/printk
bash {log}/script 2>&1
host '!exit' $?
sync
"""


class VngGuest(Guest):
    """A guest of scripts/vng. `parameters` are the drivers', as modprobe's configuration has them."""

    # Its script speaks late, after udev has settled, and what QEMU waited for a CPU is not seen behind vng.
    first_boot_limit = boot_limit = 2 * BOOT_LIMIT

    def __init__(self, *args: object, parameters: str = "", **options: object) -> None:
        super().__init__(*args, udev=True, **options)  # type: ignore[arg-type]
        self.parameters = parameters
        self._process = None  # type: ignore[assignment]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"VSR_COLDPLUGGED": "1"}

    def _command(self, channel: int, monitor: int) -> list[str]:
        (self.log / "vng-script").write_text(_SCRIPT.format(log=self.log))
        qemu = [
            "-device", f"virtio-serial-pci,id=vsr-serial,addr=0x{FIRST_SLOT - 1:x}",
            "-chardev", f"socket,id=vsr-host,path={self._bridge('host', channel)}",
            "-device", "virtserialport,bus=vsr-serial.0,chardev=vsr-host,name=vsr.host",
            "-chardev", f"socket,id=vsr-qmp,path={self._bridge('qmp', monitor)}", "-mon", "chardev=vsr-qmp,mode=control",
            *self.qemu,
        ]  # fmt: skip
        return [
            "env", f"DRIVER={self.driver.value}", "SCRATCH=no", f"PARAMS={self.parameters}",
            str(SRC / "scripts/vng"), "--verbose", "--cpus", str(self.cpus), "--memory", self.memory, "--cwd", "/tmp",
            *(word for option in [*accel.clock_words(), *self.cmdline] for word in ("-a", option)),
            f"--qemu-opts={shlex.join(qemu)}",
            "--exec", f"bash {self.log}/vng-script",
        ]  # fmt: skip

    def _bridge(self, name: str, far: int) -> Path:
        """A socket that QEMU connects to by its path, since vng hands no open files on, and that leads to `far`."""
        path = self.log / f"{name}.sock"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(1)
        server.settimeout(1)
        ours = socket.socket(fileno=os.dup(far))

        def copy(source: socket.socket, to: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    to.sendall(data)
            except OSError:
                pass
            for end in (source, to):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

        def serve() -> None:
            with server, ours:
                conn = None
                # What vng does before it starts QEMU takes its time; if it fails there, nobody comes.
                while conn is None:
                    try:
                        conn, _ = server.accept()
                    except TimeoutError:
                        if self._process is not None and self._process.poll() is not None:
                            return
                with conn:
                    back = threading.Thread(target=copy, args=(ours, conn), daemon=True)
                    back.start()
                    copy(conn, ours)
                    back.join()

        threading.Thread(target=serve, daemon=True).start()
        return path

    def _came_up(self) -> bool:
        # virtme-ng's init has drivers loaded long before our script says something.
        return super()._came_up() or any("as init process" in line for line in self.console_lines())

    def console_lines(self) -> list[str]:
        try:
            # The kernel's console is the standard error of vng.
            return (self.log / "qemu.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []


def _disks(machine: Machine) -> None:
    machine.start_at(FIRST_SLOT)
    machine.disk("data", "num-queues=2", size=512 << 20)
    machine.disk("data4k", "num-queues=2,logical_block_size=4096,physical_block_size=4096")
    machine.logged("flush")
    machine.logged("flush-through", "write-cache=off,config-wce=off", size=16 << 20)


def _units(machine: Machine) -> None:
    machine.start_at(FIRST_SLOT)
    machine.hba("hba", f"num_queues=2,addr=0x{FIRST_SLOT:x}")
    machine.lun("data", 0)
    machine.lun("data4k", 1, 0, "logical_block_size=4096,physical_block_size=4096")
    machine.lun("high", 255, 16383)
    machine.lun("thin", 7, 3)
    for target in range(20, 60):
        machine.lun(f"many{target}", target, size=1 << 20)


def _profile(name: str, scenarios: tuple[str, ...], mode: str, **options: object) -> Profile:
    scsi = mode == "scsi"
    return Profile(
        f"vng-{name}", scenarios, _units if scsi else _disks, (mode,), "virtio_scsi" if scsi else "virtio_blk",
        memory="1G", deadline=900, options=options, guest=VngGuest,
    )  # fmt: skip


def profiles(full: bool) -> list[Profile]:
    # File systems cost two minutes more here than in other guests, and know no difference.
    core = ("fio-direct", "flush", *(["filesystems"] if full else []))
    return [
        _profile("request", core, "request"),
        _profile("bio", core, "bio", cmdline=["virtio_blk.use_bio=1"]),
        _profile("bio-conf", ("fio-direct",), "bio", parameters="use_bio=1"),
        _profile("scsi", ("scsi-luns",), "scsi"),
    ]
