# SPDX-License-Identifier: GPL-2.0
"""Fill more memory than there is, while files are written, and check every page of it."""

import hashlib
import mmap
import sys

PAGE = 4096
total = int(sys.argv[1]) * 3 // 2 * (1 << 20)
memory = mmap.mmap(-1, total)


def stamp(index: int) -> bytes:
    # Not compressible to nothing, and different for each page.
    return hashlib.sha256(index.to_bytes(8, "little")).digest()


for index in range(total // PAGE):
    memory[index * PAGE : index * PAGE + 32] = stamp(index)
    memory[index * PAGE + PAGE - 32 : index * PAGE + PAGE] = stamp(index)
for index in range(total // PAGE):
    page = memory[index * PAGE : (index + 1) * PAGE]
    if page[:32] != stamp(index) or page[-32:] != stamp(index):
        sys.exit(f"page {index} came back changed")
print(f"{total >> 20} MiB held their contents")
