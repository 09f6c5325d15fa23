# SPDX-License-Identifier: GPL-2.0
"""An iSCSI target of the kernel's own (LIO), in a guest that does nothing else; see tests/guest/lio.sh.

What tgt lacks it has: PREEMPT AND ABORT, and keys that outlive a loss of power.
"""

import threading

from guest import Driver, Guest, Result

from .iscsi import free_port, options

NAME = "iqn.2026-01.test.vsr:lio"


class Lio:
    """One target with one logical unit in memory, whose serial number is `shared`."""

    def __init__(self, name: str, mib: int = 64) -> None:
        self.port = free_port()
        self._ready = threading.Event()
        self._result: Result | None = None
        self._guest = Guest(
            f"{name}-lio",
            'bash "$VSR_SRC/tests/guest/lio.sh"',
            cpus=1,
            qemu=[
                "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:3260",
                "-device", "virtio-net-pci,netdev=net",
            ],
            driver=Driver.C,
            env={"TARGET": NAME, "MIB": str(mib)},
            handlers={"ready": lambda guest, args: self._ready.set()},
            deadline=14400,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._result:
            raise RuntimeError(f"the target's guest: {self._result.why or 'ended early'}; logs: {self._result.place}")
        if not self._thread.is_alive():
            raise RuntimeError("the target's guest could not be run")

    def _run(self) -> None:
        try:
            self._result = self._guest.run()
        finally:
            self._ready.set()

    def blockdev(self, name: str, initiator: str = "guest", node: str = "") -> str:
        """As that of iscsi.Target."""
        return options(self.port, NAME, 0, initiator, node or name)

    def stop(self) -> None:
        if not self._result:
            self._guest.kill()
        self._thread.join()
