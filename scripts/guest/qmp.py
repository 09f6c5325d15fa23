# SPDX-License-Identifier: GPL-2.0
"""A QEMU Machine Protocol client: commands, their answers, and events."""

import json
import socket
import time
from typing import Any


class QmpError(Exception):
    """QEMU refused a command, or did not answer in time."""


class Qmp:
    def __init__(self, sock: socket.socket, timeout: float = 60) -> None:
        self._sock = sock
        self._timeout = timeout
        self._buffer = b""
        self._events: list[dict[str, Any]] = []
        self._ready = False

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise QmpError("QEMU did not answer in time")
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(65536)
            except TimeoutError:
                continue
            if not data:
                raise QmpError("QEMU has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def _transact(self, message: dict[str, Any]) -> Any:
        deadline = time.monotonic() + self._timeout
        self._sock.sendall(json.dumps(message).encode() + b"\n")
        while True:
            answer = self._receive(deadline)
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise QmpError(f"{message['execute']}: {answer['error']['desc']}")
            elif "return" in answer:
                return answer["return"]

    def run(self, command: str, **arguments: Any) -> Any:
        """Execute a command and return its answer."""
        if not self._ready:
            self._transact({"execute": "qmp_capabilities"})
            self._ready = True
        return self._transact({"execute": command, "arguments": arguments})

    def show_blocked(self) -> None:
        """Have the kernel of a guest that hangs tell on its console who waits, and where: sysrq-w, by the keyboard. Needs
        `sysrq_always_enabled`."""
        try:
            for letter in ("9", "w"):
                keys = [{"type": "qcode", "data": key} for key in ("alt", "sysrq", letter)]
                self.run("send-key", keys=keys)
                time.sleep(1)
            # All of it has to come by a serial line.
            time.sleep(4)
        except (QmpError, OSError):
            # QEMU hangs, too, or has ended.
            pass

    def wait_event(self, name: str, timeout: float, **match: Any) -> dict[str, Any]:
        """Return (and forget) the first event of that name whose data holds `match`."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self._events:
                data = event.get("data", {})
                if event["event"] == name and match.items() <= data.items():
                    self._events.remove(event)
                    return data
            message = self._receive(deadline)
            if "event" in message:
                self._events.append(message)
