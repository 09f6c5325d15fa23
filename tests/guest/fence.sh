#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Two nodes of a cluster share a logical unit of LIO; $ROLE is first or second. The first fences the second by fence_scsi, while it
# writes, and the second unfences itself.
set -eu
# shellcheck source=tests/guest/lib.sh
. "$VSR_SRC/tests/guest/lib.sh"
expect_log 'reservation conflict|I/O error, dev sd|Buffer I/O error|PR command failed'

meet()
{
	host meet "$1" || fail "the other guest has failed before '$1'"
}

# fence ACTION KEY
fence()
{
	fence_scsi --action="$1" --key="$2" --devices="/dev/$d" >/tmp/fence.log 2>&1
}

put()
{
	printf "%4096s" "" | tr ' ' "$1" | dd of="/dev/$d" bs=4k count=1 seek="$2" iflag=fullblock oflag=direct conv=notrunc status=none
}

keys()
{
	sg_turs "/dev/$d" || true
	sg_persist --in --no-inquiry --read-keys "/dev/$d" | grep -o '0x[0-9a-f]*$' | sort | xargs
}

# shellcheck disable=SC2119 # no further parameters
load
d=$(disk shared)

first()
{
	fence on 1a || fail "fence_scsi on: $(cat /tmp/fence.log)"
	meet first
	meet second
	same "the keys" "$(keys)" "0x1a 0x2b"
	put a 1 || fail "the first cannot write"
	meet writes
	fence off 2b || fail "fence_scsi off: $(cat /tmp/fence.log)"
	same "the keys" "$(keys)" 0x1a
	put a 2 || fail "the first cannot write any more"
	fails fence off 1a
	meet fenced
	meet unfenced
	same "the keys" "$(keys)" "0x1a 0x2b"
	same "what the second wrote" "$(dd if="/dev/$d" bs=4k skip=3 count=1 iflag=direct status=none | tr -d 'c' | wc -c)" 0
	put a 4 || fail "the first cannot write in the end"
}

second()
{
	local status=0
	meet first
	fails put b 3
	fence on 2b || fail "fence_scsi on: $(cat /tmp/fence.log)"
	put b 3 || fail "the second cannot write"
	fence status 2b || fail "fence_scsi status: $(cat /tmp/fence.log)"
	meet second
	fio --name=load --filename="/dev/$d" --rw=randwrite --direct=1 --ioengine=io_uring --iodepth=8 --bs=4k --offset=1m --size=8m \
		--time_based --runtime=300 --allow_file_create=0 >/tmp/load.log 2>&1 &
	wait_for 60 eval "((\$(awk '{ print \$5 }' /sys/block/$d/stat) > 50))" || fail "no load"
	meet writes
	wait_for 120 not_running $! || fail "it still writes"
	wait $! || status=$?
	((status)) || fail "the load ended well"
	meet fenced
	grep -q 'Invalid exchange' /tmp/load.log || fail "the load: $(cat /tmp/load.log)"
	fails put x 3
	fails fence status 2b
	fence on 2b || fail "fence_scsi on, after the fence: $(cat /tmp/fence.log)"
	put c 3 || fail "unfenced, the second cannot write"
	meet unfenced
}

$ROLE
meet end
unload
