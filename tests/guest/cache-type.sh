# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# cache_type switches the host's cache (CONFIG_WCE), and with that whether flushes are sent.
d=$(disk flush)
file=/sys/block/$d/cache_type
sync_write()
{
	local before
	before=$(host flushes flush)
	dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc,fsync status=none
	echo $(($(host flushes flush) - before))
}
same cache_type "$(<"$file")" "write back"
same "flushes with write back" "$(sync_write)" 1
echo "write through" >"$file"
same cache_type "$(<"$file")" "write through"
same write_cache "$(read_attr "$d" write_cache)" "write through"
same "flushes with write through" "$(sync_write)" 0
fails sh -c "echo sideways >$file" 2>/dev/null
same cache_type "$(<"$file")" "write through"
echo "write back" >"$file"
same "flushes with write back again" "$(sync_write)" 1
# What was written before the cache goes is flushed then: no fsync after would do it. (The C driver leaves it.)
[[ $MODE == c ]] || for round in {1..5}; do
	host flushlog mark flush
	dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc status=none
	echo "write through" >"$file"
	python3 -c "import os; os.fsync(os.open('/dev/$d', os.O_RDWR))"
	same "what the host saw in round $round" "$(host flushlog read flush)" "W F"
	# The same with writes under way, which sixteen threads do not stop.
	echo "write back" >"$file"
	fio --name=writers --filename="/dev/$d" --rw=randwrite --bs=4k --direct=1 --ioengine=psync --numjobs=16 --time_based --runtime=3 \
		--size=32m --thread --minimal >/dev/null &
	sleep 1
	echo "write through" >"$file" || fail "with writes under way"
	same write_cache "$(read_attr "$d" write_cache)" "write through"
	wait $! || fail "an error of a writer"
	echo "write back" >"$file"
done
# Who writes at the same time leaves device and disk in the same mode, be it whose.
[[ $MODE == c ]] || for round in {1..25}; do
	for cache in "write through" "write back" "write through" "write back"; do
		echo "$cache" >"$file" &
	done
	dd if=/dev/zero of="/dev/$d" bs=4k count=8 oflag=direct conv=notrunc status=none
	wait
	same "write_cache in round $round" "$(read_attr "$d" write_cache)" "$(<"$file")"
done
# Without CONFIG_WCE the file can only be read.
d=$(disk no-wce)
fails sh -c "echo 'write through' >/sys/block/$d/cache_type" 2>/dev/null
same "cache_type without CONFIG_WCE" "$(<"/sys/block/$d/cache_type")" "write back"
