# SPDX-License-Identifier: GPL-2.0
"""qemu-storage-daemon on the host, which serves disks by vhost-user and can be killed."""

import socket
from pathlib import Path
from typing import Any

from guest import Guest, Qmp

from .service import Service


class Daemon(Service):
    """One process. `options` are its own; each export is one more socket, at `socket(NAME)`."""

    def __init__(self, folder: Path, options: list[str], exports: list[str], *, queues: int = 2) -> None:
        """`exports`: the names of nodes that `options` make."""
        self._folder = folder
        self._pidfile, self._monitor = folder / "daemon.pid", folder / "daemon.qmp"
        command: list[str | Path] = [
            "qemu-storage-daemon", "--chardev", f"socket,id=qmp,path={self._monitor},server=on,wait=off",
            "--monitor", "chardev=qmp", *options,
        ]  # fmt: skip
        for name in exports:
            command += [
                "--export", f"type=vhost-user-blk,id={name}-export,node-name={name},writable=on,num-queues={queues},"
                f"addr.type=unix,addr.path={self.socket(name)}",
            ]  # fmt: skip
        # It writes that file when all is made.
        command += ["--pidfile", self._pidfile]
        super().__init__(command, folder / "daemon.messages", self._pidfile.exists)

    def socket(self, name: str) -> Path:
        return self._folder / f"vhost-{name}.sock"

    def stop(self) -> None:
        """Kills it, whatever it is at."""
        super().stop()
        self._pidfile.unlink(missing_ok=True)

    def ask(self, command: str, **arguments: Any) -> Any:
        """A command of its monitor."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._monitor))
            return Qmp(sock).run(command, **arguments)

    def tell(self, guest: Guest, args: list[str]) -> None:
        """host daemon kill|start"""
        {"kill": self.stop, "start": self.start}[args[0]]()
