# SPDX-License-Identifier: GPL-2.0
"""Programs of the host that a guest's disks come from."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def _die_with_parent() -> None:
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Service:
    """A program that runs until it is stopped, or whoever runs the tests ends, however."""

    def __init__(
        self,
        command: Sequence[str | Path],
        messages: Path,
        ready: Callable[[], bool],
        env: dict[str, str] | None = None,
    ) -> None:
        """Starts it; what it prints goes to `messages`. Returns when it is `ready`."""
        self._command, self._messages, self._ready, self._env = command, messages, ready, {**os.environ, **(env or {})}
        messages.unlink(missing_ok=True)
        self.start()

    def start(self) -> None:
        """Again, after `stop`."""
        with open(self._messages, "ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
        end = time.monotonic() + 30
        while not self._ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise RuntimeError(f"{self._command[0]} does not start: {self._messages.read_text().strip()}")
            time.sleep(0.02)

    def stop(self) -> None:
        # It ends a stopped process too.
        self.process.kill()
        self.process.wait()
