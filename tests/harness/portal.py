# SPDX-License-Identifier: GPL-2.0
"""A way to an iSCSI target that can be cut, and whose initiator port keeps its name.

libiscsi takes a new ISID for each connection, which makes another initiator port of it, without the registrations of the one before.
The ISID of each login is changed here to one that stays, as adapters and the kernel's initiator have it.
"""

import contextlib
import socket
import threading

from .iscsi import free_port

_HEADER = 48
_LOGIN = 0x03


class Portal:
    """Listens on `port`, and passes on to that of the target's. `number` makes the ISID."""

    def __init__(self, target: int, number: int) -> None:
        self.port = free_port()
        self._target = target
        # Of the kind "random", by RFC 7143.
        self._isid = b"\x80" + number.to_bytes(5, "big")
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._timer = threading.Timer(0, self.mend)
        self.mend()

    def mend(self) -> None:
        self._timer.cancel()
        if self._listener:
            return
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Ends all connections; new ones are refused, for three seconds: QEMU may let its guest wait for the target's return, so that
        nobody could ask for it."""
        with self._lock:
            if not self._listener:
                return
            # Wakes up who accepts, too.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            for end in self._open:
                # One that has ended by itself is none any more.
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._timer = threading.Timer(3, self.mend)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        self.cut()
        self._timer.cancel()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    if listener is not self._listener:
                        near.close()
                        far.close()
                        return
                    self._open |= {near, far}
                threading.Thread(target=self._serve, args=(near, far), daemon=True).start()

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        with contextlib.suppress(OSError, EOFError):
            self._logins(near, far)
        _copy(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()

    def _logins(self, near: socket.socket, far: socket.socket) -> None:
        """Passes on all up to the first PDU that is not of the login phase."""
        while True:
            header = bytearray(_take(near, _HEADER))
            login = header[0] & 0x3F == _LOGIN
            if login:
                header[8:14] = self._isid
            length = header[4] * 4 + (int.from_bytes(header[5:8], "big") + 3 & ~3)
            far.sendall(header + _take(near, length))
            if not login:
                return


def _take(sock: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = sock.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            to.sendall(data)
    for end in (source, to):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
