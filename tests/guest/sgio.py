# SPDX-License-Identifier: GPL-2.0
"""sgio.py DISK CDB [BYTES [sense]]: sends a command that reads BYTES through the SG_IO ioctl, and prints all that user
space gets to know of its end: status, host byte, bytes not moved, length of the sense data; with `sense` that data, too."""

import ctypes
import fcntl
import os
import sys

SG_IO = 0x2285
FROM_DEV, NONE = -3, -1


class Header(ctypes.Structure):
    _fields_ = [
        ("interface_id", ctypes.c_int), ("dxfer_direction", ctypes.c_int), ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte), ("iovec_count", ctypes.c_ushort), ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p), ("cmdp", ctypes.c_void_p), ("sbp", ctypes.c_void_p),
        ("timeout", ctypes.c_uint), ("flags", ctypes.c_uint), ("pack_id", ctypes.c_int),
        ("usr_ptr", ctypes.c_void_p), ("status", ctypes.c_ubyte), ("masked_status", ctypes.c_ubyte),
        ("msg_status", ctypes.c_ubyte), ("sb_len_wr", ctypes.c_ubyte), ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort), ("resid", ctypes.c_int), ("duration", ctypes.c_uint),
        ("info", ctypes.c_uint),
    ]  # fmt: skip


def send(disk: str, cdb: bytes, size: int = 0) -> tuple[Header, bytes]:
    """How the command ended, and its sense data."""
    command = ctypes.create_string_buffer(cdb, len(cdb))
    data = ctypes.create_string_buffer(max(size, 1))
    sense = ctypes.create_string_buffer(255)
    header = Header(
        interface_id=ord("S"), dxfer_direction=FROM_DEV if size else NONE, cmd_len=len(cdb), mx_sb_len=255,
        dxfer_len=size, dxferp=ctypes.addressof(data), cmdp=ctypes.addressof(command), sbp=ctypes.addressof(sense),
        timeout=60000,
    )  # fmt: skip
    fd = os.open(disk, os.O_RDWR)
    try:
        fcntl.ioctl(fd, SG_IO, header)
    finally:
        os.close(fd)
    return header, sense.raw[: header.sb_len_wr]


def main() -> None:
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    header, sense = send(f"/dev/{sys.argv[1]}", bytes.fromhex(sys.argv[2]), size)
    print(f"status={header.status:#x} host={header.host_status:#x} resid={header.resid} sense={header.sb_len_wr}")
    if sys.argv[4:] == ["sense"]:
        print(sense.hex())


if __name__ == "__main__":
    main()
