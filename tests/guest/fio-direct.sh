# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Random sizes and offsets, several submitters on several queues, direct I/O by io_uring and libaio.
# limit: 400
d=$(disk data)
verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-256k --bs_unaligned=0 \
	--numjobs=2 --size=8m --offset_increment=16m
verify "$d" --direct=1 --ioengine=libaio --iodepth=8 --iodepth_batch=8 --bssplit=512/20:4k/40:68k/40 \
	--numjobs=3 --size=4m --offset_increment=8m
d=$(disk data4k)
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-512k --numjobs=2 --size=8m --offset_increment=16m
# The logical block size binds: half a block is refused.
fails dd if="/dev/$d" of=/dev/null bs=512 count=1 iflag=direct status=none
