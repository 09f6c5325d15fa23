# SPDX-License-Identifier: GPL-2.0
"""The block layer's persistent reservations (linux/pr.h): reservations.py DISK OPERATION NUMBER...

Of the command's result, it prints 0, the SCSI status if the device refused it, or the errno's name.
"""

import errno
import fcntl
import os
import struct
import sys

# Operation: number, and the layout of its structure: keys, type and flags in the order of the arguments.
OPERATIONS = {
    "register": (200, "=QQII"),  # old key, new key
    "reserve": (201, "=QII"),  # key, type
    "release": (202, "=QII"),  # key, type
    "preempt": (203, "=QQII"),  # old and new key, which sd takes as own key and key to remove; type
    "clear": (205, "=QII"),  # key
}


def main() -> None:
    disk, operation, *numbers = sys.argv[1:]
    number, layout = OPERATIONS[operation]
    values = [int(text, 0) for text in numbers]
    values += [0] * (len(layout) - 1 - len(values))
    # _IOW('p', number, structure)
    request = 1 << 30 | struct.calcsize(layout) << 16 | ord("p") << 8 | number
    fd = os.open(disk, os.O_RDWR)
    try:
        print(fcntl.ioctl(fd, request, bytearray(struct.pack(layout, *values))))
    except OSError as err:
        print(errno.errorcode[err.errno or 0])


main()
