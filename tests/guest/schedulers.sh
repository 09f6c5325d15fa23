# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Every I/O scheduler serves request mode; bio mode has none to choose.
# limit: 400
d=$(disk data)
file=/sys/block/$d/queue/scheduler
if [[ $MODE == bio ]]; then
	same "the schedulers of bio mode" "$(cat "$file" 2>/dev/null || echo none)" none
else
	modprobe -a kyber-iosched bfq mq-deadline
	names=$(tr -d '[]' <"$file")
	for name in mq-deadline kyber bfq none; do
		[[ " $names " == *" $name "* ]] || fail "no $name among: $names"
		echo "$name" >"$file"
		grep -qF "[$name]" "$file" || fail "$name was not taken"
		verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=2m --numjobs=2 --offset_increment=4m
		verify "$d" --direct=0 --ioengine=psync --bs=4k --size=2m --end_fsync=1
	done
fi
