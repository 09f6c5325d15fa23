# SPDX-License-Identifier: GPL-2.0
"""Folders of the host in a guest: by 9p, or by virtiofs where the kernel has no 9p, as those of Debian's for clouds."""

import functools
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from .paths import kernel, stock

VIRTIOFSD = "/usr/libexec/virtiofsd"


@functools.cache
def by_virtiofs() -> bool:
    of = kernel()
    # Kernels that are compiled here have 9p built in.
    return stock() and "/9p.ko" not in (of.modules / of.release / "modules.dep").read_text()


class Share:
    """A folder under the tag `vsr.NAME`; `log` is the folder of the run. virtiofs needs the guest's memory to be shared."""

    def __init__(self, name: str, folder: Path, log: Path, *, writable: bool = False) -> None:
        self._name = name
        self._folder = folder
        self._socket = log / f"{name}.sock"
        self._messages = log / f"virtiofsd-{name}.log"
        self._writable = writable

    def qemu_args(self) -> list[str]:
        name, tag = f"vsr-{self._name}", f"vsr.{self._name}"
        if by_virtiofs():
            return [
                "-chardev", f"socket,id={name},path={self._socket}",
                "-device", f"vhost-user-fs-pci,chardev={name},tag={tag}",
            ]  # fmt: skip
        options = "" if self._writable else ",readonly=on,multidevs=remap"
        return [
            "-fsdev", f"local,id={name},path={self._folder},security_model=none{options}",
            "-device", f"virtio-9p-pci,fsdev={name},mount_tag={tag}",
        ]  # fmt: skip

    def serve(self, before: Callable[[], None]) -> subprocess.Popen[bytes] | None:
        """The program that serves it, if it is not QEMU itself; `before` is called in it first."""
        if not by_virtiofs():
            return None
        # What nobody changes may be cached.
        options = ["--cache=never"] if self._writable else ["--readonly", "--cache=always"]
        with socket.socket(socket.AF_UNIX) as listener, open(self._messages, "wb") as messages:
            listener.bind(str(self._socket))
            listener.listen()
            return subprocess.Popen(
                [VIRTIOFSD, f"--fd={listener.fileno()}", f"--shared-dir={self._folder}", "--sandbox=none",
                 "--log-level=warn", *options],
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
                pass_fds=(listener.fileno(),), preexec_fn=before,
            )  # fmt: skip
