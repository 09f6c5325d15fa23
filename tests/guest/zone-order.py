# SPDX-License-Identifier: GPL-2.0
"""zone-order DISK OFFSET COUNT PID: writes to a zone in order, by turns from two CPUs, none awaited.

The device (process PID) sleeps meanwhile: it finds all that the driver lets go at once.
"""

import ctypes
import mmap
import os
import signal
import struct
import sys
import threading

IO_SETUP, IO_GETEVENTS, IO_SUBMIT = 206, 208, 209
IOCB_CMD_PWRITE = 1
BLOCK = 4096

libc = ctypes.CDLL(None, use_errno=True)
disk, offset, count, pid = sys.argv[1], *map(int, sys.argv[2:])
fd = os.open(disk, os.O_WRONLY | os.O_DIRECT)
data = mmap.mmap(-1, BLOCK * count)
data.write(b"".join(bytes([65 + number % 26]) * BLOCK for number in range(count)))
base = ctypes.addressof(ctypes.c_char.from_buffer(data))
turn = threading.Condition()
submitted = 0
failures: list[str] = []


def syscall(number: int, *args: object) -> int:
    result: int = libc.syscall(number, *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return result


def submitter(cpu: int) -> None:
    global submitted
    os.sched_setaffinity(0, {cpu})
    context = ctypes.c_ulong(0)
    syscall(IO_SETUP, count, ctypes.byref(context))
    mine = range(1 - cpu, count, 2)
    kept = []
    for number in mine:
        # struct iocb: data, key and flags, opcode, priority, fd, buffer, bytes, offset.
        block = struct.pack(
            "<QIiHhIQQqQII", number, 0, 0, IOCB_CMD_PWRITE, 0, fd,
            base + number * BLOCK, BLOCK, offset + number * BLOCK, 0, 0, 0,
        )  # fmt: skip
        one = ctypes.create_string_buffer(block, len(block))
        pointer = ctypes.c_void_p(ctypes.addressof(one))
        kept.append((one, pointer))
        with turn:
            turn.wait_for(lambda number=number: submitted == number)
            syscall(IO_SUBMIT, context, ctypes.c_long(1), ctypes.byref(pointer))
            submitted += 1
            if submitted == count:
                os.kill(pid, signal.SIGCONT)
            turn.notify_all()
    events = (ctypes.c_longlong * (4 * len(mine)))()
    syscall(
        IO_GETEVENTS, context, ctypes.c_long(len(mine)), ctypes.c_long(len(mine)), events, None
    )
    for index in range(len(mine)):
        number, _, result, _ = events[4 * index : 4 * index + 4]
        if result != BLOCK:
            failures.append(f"write {number} from CPU {cpu}: {result}")


os.kill(pid, signal.SIGSTOP)
threads = [threading.Thread(target=submitter, args=(cpu,)) for cpu in (0, 1)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
reader = os.open(disk, os.O_RDONLY)
if not failures and os.pread(reader, len(data), offset) != data[:]:
    failures.append("the zone holds something else")
sys.exit("; ".join(failures) or 0)
