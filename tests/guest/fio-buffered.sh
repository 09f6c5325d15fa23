# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The page cache's I/O: write-back in large plugs, read-ahead.
# limit: 400
for d in $(disk data) $(disk data4k); do
	verify "$d" --direct=0 --ioengine=psync --bsrange=512-64k --bs_unaligned=1 --size=8m --fsync=64 \
		--numjobs=2 --offset_increment=16m --invalidate=1
done
