# SPDX-License-Identifier: GPL-2.0
"""The device of our own (tests/device): builds it, runs it on the host, speaks to it."""

import fcntl
import functools
import json
import shutil
import socket
import subprocess
from pathlib import Path

from guest import Guest
from guest.paths import BUILD, SRC

from .service import Service

TARGET = BUILD / "device"


@functools.cache
def binary() -> Path:
    """The program, built if need be; guests find it under the same path."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with open(TARGET / ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["cargo", "build", "--quiet", "--locked", "--target-dir", TARGET,
             "--manifest-path", SRC / "tests/device/Cargo.toml"],
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError("tests/device does not build")
    return TARGET / "debug/blkdev"


class Device(Service):
    """One device that serves QEMU by vhost-user."""

    def __init__(
        self, folder: Path, name: str, settings: dict[str, object], kind: str = "vhost-user"
    ) -> None:
        self.socket = folder / f"{name}.sock"
        self._control = folder / f"{name}.control"
        self.log = folder / f"{name}.log"
        text = json.dumps(
            {"serial": name, "log": str(self.log), "control": str(self._control), **settings}
        )
        super().__init__(
            [binary(), kind, self.socket, text],
            folder / f"{name}.messages",
            lambda: self.socket.exists() and self._control.exists(),
        )

    def stop(self) -> None:
        """Kills it, whatever it is at."""
        super().stop()
        # What tells that it is ready when it starts again.
        self.socket.unlink(missing_ok=True)
        self._control.unlink(missing_ok=True)

    def command(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self._control))
            sock.sendall(line.encode() + b"\n")
            answer = sock.makefile(encoding="ascii").readline().strip()
        if not answer.startswith("ok"):
            raise RuntimeError(f"{line}: {answer or 'the device has ended'}")
        return answer[2:].strip()


def blkdev(devices: dict[str, Device], guest: Guest, args: list[str]) -> str:
    """host blkdev NAME COMMAND...: see tests/device/src/control.rs, and `log`; `kill`, and `start` after that."""
    name, *command = args
    device = devices[name]
    if command == ["log"]:
        shutil.copy(device.log, guest.log / f"{name}.log")
        return f"/run/vsr/{name}.log"
    if command in (["kill"], ["start"]):
        {"kill": device.stop, "start": device.start}[command[0]]()
        return ""
    return device.command(" ".join(command))
