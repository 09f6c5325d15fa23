# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Shared mappings: dirty pages reach the disk, faults read them back.
for d in $(disk data) $(disk data4k); do
	python3 - "/dev/$d" <<'E' || fail "mmap on $d"
import mmap, os, random, sys
SIZE = 8 << 20
generator = random.Random()
fd = os.open(sys.argv[1], os.O_RDWR)
wanted = bytearray(SIZE)
with mmap.mmap(fd, SIZE) as mapping:
    for page in generator.sample(range(SIZE // 4096), SIZE // 4096):
        data = generator.randbytes(4096)
        mapping[page * 4096 : page * 4096 + 4096] = data
        wanted[page * 4096 : page * 4096 + 4096] = data
        if page % 200 == 0:
            mapping.flush(page * 4096, 4096)
    mapping.flush()
direct = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
back = mmap.mmap(-1, SIZE)
if os.preadv(direct, [back], 0) != SIZE or back[:] != wanted:
    sys.exit("the disk does not hold what the mapping was given")
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
with mmap.mmap(fd, SIZE, prot=mmap.PROT_READ) as mapping:
    if mapping[:] != wanted:
        sys.exit("a fresh mapping reads something else")
E
done
