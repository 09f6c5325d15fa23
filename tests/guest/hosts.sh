# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# One back end and one driver: each thing that a disk must do, told to the host, which makes a table of it. The disk under
# test is `cell`; `bad`, of 64 MiB on the same back end, fails reads and writes at 32 MiB, and all flushes.
# limit: 3600
expect_log 'Buffer I/O error|I/O error, dev|critical (medium|target) error|Synchronize Cache'
if [[ $VSR_HOST == hosts-lio* ]]; then
	# The disks are of a guest in this one.
	python3 "$VSR_SRC/tests/guest/hosts-lio.py" || end_case 1
	return
fi

# What is asked of the host, unless it is in this guest.
on_host()
{
	host "$@"
}
if [[ $VSR_HOST == hosts-vduse ]]; then
	# shellcheck source=tests/guest/hosts-vduse.sh
	. "$VSR_SRC/tests/guest/hosts-vduse.sh"
fi

# Nothing asks for it.
[[ $VSR_HOST != hosts-microvm* ]] || modprobe virtio_mmio

# find_disk cell|bad prints its name.
find_disk()
{
	local dir what
	for dir in /sys/block/vd* /sys/block/sd*; do
		what=cell
		[[ $(cat "$dir/size" 2>/dev/null) != $((64 << 11)) ]] || what=bad
		if [[ $what == "$1" && -b /dev/${dir##*/} ]]; then
			echo "${dir##*/}"
			return
		fi
	done
	return 1
}

found()
{
	wait_for 30 find_disk cell >/dev/null || fail "no disk: $(dmesg | grep -E 'virtio_blk|virtio_scsi' | tail -n 1)"
	prove_driver
	same "the capacity in MiB" $(($(blockdev --getsize64 "/dev/$(find_disk cell)") >> 20)) "$(on_host size)"
}

limits()
{
	local d attr mine theirs
	d=$(find_disk cell)
	mine=$(for attr in logical_block_size physical_block_size minimum_io_size optimal_io_size max_segments \
		max_hw_sectors_kb max_segment_size write_cache fua dma_alignment discard_granularity discard_max_hw_bytes \
		write_zeroes_max_bytes; do
		echo "$attr=$(read_attr "$d" $attr | tr ' ' -)"
	done)
	# shellcheck disable=SC2086 # several words
	[[ $MODE != c ]] || host limits $mine
	theirs=$(host limits | tr ' ' '\n')
	[[ -n $theirs ]] || fail "the C driver has left none"
	[[ $mine == "$theirs" ]] || fail "not the C driver's: $(diff <(echo "$theirs") <(echo "$mine") | grep '^[<>]' | tr '\n' ' ')"
}

io()
{
	local d
	d=$(find_disk cell)
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-128k --size=4m --fsync=16
	verify "$d" --direct=0 --ioengine=psync --bs=4k --size=512k --offset=8m --fsync=16
}

# finding WHAT the host does otherwise, which is no fault of the driver
finding()
{
	echo "$*"
	exit 6
}

flush()
{
	local d type
	dd if=/dev/zero of="/dev/$(find_disk cell)" bs=4k count=1 oflag=direct conv=notrunc,fsync status=none
	d=$(find_disk bad)
	dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc status=none
	type=/sys/block/$d/cache_type
	if [[ $VSR_HOST == hosts-daemon && $(<"$type") == "write through" ]]; then
		echo "write back" >"$type"
		fails dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc,fsync status=none
		# The device keeps it for the next driver.
		echo "write through" >"$type"
		finding "the device says that it writes through (\`wce\` is 0), though it has a cache: no flush is sent. After" \
			"\`echo write back\` into \`cache_type\` fsync reaches it"
	fi
	fails dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc,fsync status=none
}

discard()
{
	local d full left
	d=$(find_disk cell)
	tr '\0' x </dev/zero | dd of="/dev/$d" bs=1M seek=16 count=8 oflag=direct iflag=fullblock conv=notrunc,fsync status=none
	full=$(on_host allocated cell)
	blkdiscard -o 20M -l 4M "/dev/$d"
	sync "/dev/$d"
	left=$(on_host allocated cell)
	((full - left >= 3584 && full - left <= 4608)) || fail "4 MiB are discarded, the host has $full KiB before and $left KiB after"
	same "what is not x in the MiBs beside it" "$(dd if="/dev/$d" bs=1M skip=16 count=4 iflag=direct status=none | tr -d x | wc -c)" 0
}

resize()
{
	local d size
	d=$(find_disk cell)
	size=$(($(on_host size) + 16))
	on_host resize $size
	wait_for 30 has_size "$d" $((size << 20)) || fail "the size is $(($(blockdev --getsize64 "/dev/$d") >> 20)) MiB, not $size"
	dd if="/dev/$d" of=/dev/null bs=1M skip=$((size - 1)) count=1 iflag=direct status=none
}

error()
{
	local d what
	d=$(find_disk bad)
	for what in $(on_host spoil); do
		case $what in
		read) fails dd if="/dev/$d" of=/dev/null bs=4k skip=8192 count=1 iflag=direct status=none ;;
		write) fails dd if=/dev/zero of="/dev/$d" bs=4k seek=8192 count=1 oflag=direct conv=notrunc status=none ;;
		esac
	done
	dd if="/dev/$d" of=/dev/null bs=4k skip=1 count=1 iflag=direct status=none
	dd if=/dev/zero of="/dev/$d" bs=4k seek=1 count=1 oflag=direct conv=notrunc status=none
}

unplug()
{
	local d load rw=randrw
	d=$(find_disk cell)
	[[ $(<"/sys/block/$d/ro") == 0 ]] || rw=randread
	fio --name=load --filename="/dev/$d" --rw=$rw --bs=4k --direct=1 --ioengine=io_uring --iodepth=16 --size=4m \
		--allow_file_create=0 --time_based --runtime=300 --output=/tmp/load.log >/tmp/load.err 2>&1 &
	load=$!
	sleep 2
	kill -0 $load 2>/dev/null || fail "fio ended too early: $(cat /tmp/load.err)"
	on_host pull
	wait_for 60 not_running $load || fail "fio does not end"
	wait $load && fail "fio saw no error"
	fails test -e "/sys/block/$d/dev"
	on_host push
	wait_for 60 find_disk cell >/dev/null || fail "the disk does not come back"
	prove_driver
	d=$(find_disk cell)
	[[ $rw == randread ]] || verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=512k
	dd if="/dev/$d" of=/dev/null bs=1M count=1 iflag=direct status=none
}

failures=0
for aspect in found limits io flush discard resize error unplug; do
	[[ -z $(host cannot $aspect) ]] || continue
	# In a condition -e would not count.
	set +e
	(
		set -e
		$aspect
	) >/tmp/aspect.log 2>&1
	status=$?
	set -e
	cat /tmp/aspect.log
	if ((status == 0)); then
		host cell "$MODE" $aspect yes
	elif ((status == 6)); then
		host cell "$MODE" $aspect "$(tail -n 1 /tmp/aspect.log)"
	else
		host cell "$MODE" $aspect "$(tail -n 1 /tmp/aspect.log | grep . || echo "status $status")"
		worst="$aspect: $(tail -n 1 /tmp/aspect.log)"
		failures=$((failures + 1))
		# There is nothing to do the rest with.
		[[ $aspect != found ]] || break
	fi
done
if [[ $VSR_HOST == hosts-vduse ]]; then
	on_host stop
fi
# What the C driver cannot do is written down, and no failure of ours.
if ((failures)) && [[ $MODE != c ]]; then
	fail "$worst ($failures in all)"
fi
