# SPDX-License-Identifier: GPL-2.0
"""An iSCSI target in user space (tgt), on a loopback port of its own, for QEMU's libiscsi."""

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from .service import Service

NAME = "iqn.2026-01.test.vsr:target"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def options(port: int, target: str, lun: int, initiator: str, node: str) -> str:
    """QEMU's options for a unit behind a target of this machine's, seen by an initiator of that name."""
    return (
        f"driver=iscsi,transport=tcp,portal=127.0.0.1:{port},target={target},"
        f"lun={lun},initiator-name=iqn.2026-01.test.vsr:{initiator},node-name={node}"
    )


class Target(Service):
    """One target whose logical units 1, 2, … lie on sparse files; a unit's serial number is its name."""

    def __init__(self, folder: Path, units: dict[str, int]) -> None:
        """`units`: the size in bytes of each, by name."""
        self._env = {"TGT_IPC_SOCKET": str(folder / "tgt")}
        self._port = free_port()
        self._units = list(units)
        super().__init__(
            ["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{self._port}"],
            folder / "tgtd.log",
            lambda: self._ask("show", "target").returncode == 0,
            self._env,
        )
        try:
            self._set_up(folder, units)
        except BaseException:
            self.stop()
            raise

    def _set_up(self, folder: Path, units: dict[str, int]) -> None:
        self._do("new", "target", "-T", NAME)
        for number, (name, size) in enumerate(units.items(), 1):
            path = folder / f"{name}.lun"
            with open(path, "wb") as file:
                file.truncate(size)
            self._do("new", "logicalunit", "--lun", str(number), "-b", str(path))
            self._do("update", "logicalunit", "--lun", str(number), "--params", f"scsi_sn={name}")
        self._do("bind", "target", "-I", "ALL")

    def _ask(self, operation: str, mode: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tgtadm", "--lld", "iscsi", "--op", operation, "--mode", mode, *more],
            env={**os.environ, **self._env}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def _do(self, operation: str, mode: str, *more: str) -> None:
        done = self._ask(operation, mode, "--tid", "1", *more)
        if done.returncode:
            raise RuntimeError(f"tgtadm {operation} {mode}: {(done.stderr or done.stdout).strip()}")

    def blockdev(self, name: str, initiator: str = "guest", node: str = "") -> str:
        """QEMU's options for a unit, seen by an initiator of that name; the node has the unit's name if it has no other."""
        return options(self._port, NAME, self._units.index(name) + 1, initiator, node or name)

    def pause(self, seconds: float) -> None:
        """Answer nothing for so long. QEMU may hang meanwhile, and with it all that could end this earlier."""
        self.process.send_signal(signal.SIGSTOP)
        timer = threading.Timer(seconds, self.process.send_signal, [signal.SIGCONT])
        timer.daemon = True
        timer.start()
