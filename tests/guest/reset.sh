# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The PCI function is reset under I/O, polled and not: nothing is lost, the disk goes on, and nobody resets it once more; it has
# the size that it got meanwhile, and later. It is reset while the driver is unbound. A reset that is not brought to its end is
# mended by the operator.
# limit: 800
# shellcheck source=tests/guest/pci.sh
. "$VSR_SRC/tests/guest/pci.sh"
d=$(disk reset)
function=$(readlink -f "/sys/block/$d/device/..")
[[ -w $function/reset ]] || fail "$function cannot be reset: $(cat "$function/reset_method" 2>&1)"
resets()
{
	if [[ $MODE == c ]]; then echo 0; else cat "/sys/block/$d/reset"; fi
}
# In C, who polls in a reset is frozen, and its I/O with it.
kinds=(direct buffered)
[[ $MODE == c ]] || kinds+=(polled)
for kind in "${kinds[@]}"; do
	case $kind in
	direct) how=(--direct=1 --iodepth=16 --loops="$VSR_ROUNDS" --end_fsync=1) ;;
	buffered) how=(--direct=0 --iodepth=16 --loops="$VSR_ROUNDS" --end_fsync=1) ;;
	polled)
		# What is in line during a reset is polled for as well.
		how=(--direct=1 --iodepth=32 --loops="$VSR_ROUNDS" --hipri=1)
		echo 1 >/sys/module/virtio_blk/parameters/poll_queues
		bind_anew "${function##*/}"
		echo 0 >/sys/module/virtio_blk/parameters/poll_queues
		wait_for 60 disk reset >/dev/null || fail "the disk did not come back"
		d=$(disk reset)
		same "io_poll of the disk" "$(read_attr "$d" io_poll)" 1
		;;
	esac
	before=$(resets)
	fio --name=load --filename="/dev/$d" --rw=randwrite --bsrange=4k-64k --ioengine=io_uring "${how[@]}" \
		--size=16m --numjobs=2 --offset_increment=16m --allow_file_create=0 --verify=crc32c --verify_fatal=1 --do_verify=1 \
		--output=/tmp/load.log >/tmp/load.err 2>&1 &
	load=$!
	for round in 1 2 3 4 5; do
		sleep 0.$((RANDOM % 10))
		kill -0 $load 2>/dev/null || break
		# A flush has to survive as well.
		dd if=/dev/zero of="/dev/$d" bs=4k count=1 seek=12288 oflag=direct conv=notrunc,fsync status=none &
		echo 1 >"$function/reset"
		wait $! || fail "a write with fsync failed in a reset"
	done
	((round > 1)) || fail "no reset came while fio ran"
	wait_for 400 not_running $load || fail "fio hangs after a reset"
	wait $load || fail "I/O failed in a reset: $(cat /tmp/load.err /tmp/load.log)"
	same "resets of the disk by its driver beside those of the function ($kind)" "$(resets)" "$before"
done
prove_driver
host qmp block_resize node-name=reset size=$((96 << 20))
wait_for 20 has_size "$d" $((96 << 20)) || fail "after the resets, a new size is not seen: $(blockdev --getsize64 "/dev/$d")"
host qmp block_resize node-name=reset size=$((64 << 20))
wait_for 20 has_size "$d" $((64 << 20)) || fail "a second new size is not seen: $(blockdev --getsize64 "/dev/$d")"
# The device forgets its cache mode. If the disk's is another, no flush reaches a device that caches. The C driver leaves it so.
if [[ $MODE != c ]]; then
	for cache in "write through" "write back"; do
		echo "$cache" >"/sys/block/$d/cache_type"
		echo 1 >"$function/reset"
		same "cache_type after a reset" "$(<"/sys/block/$d/cache_type")" "$cache"
		same "write_cache after a reset" "$(read_attr "$d" write_cache)" "$cache"
		before=$(host flushes reset)
		dd if=/dev/zero of="/dev/$d" bs=4k count=1 oflag=direct conv=notrunc,fsync status=none
		flushes=$(($(host flushes reset) - before))
		same "flushes with $cache after a reset" $flushes "$([[ $cache == "write back" ]] && echo 1 || echo 0)"
	done
fi

# Once is enough: it takes the two minutes that others have for a reset.
if [[ $MODE == bio ]]; then
	enable_once_more "${function##*/}"
	wait_for 60 disk reset >/dev/null || fail "the disk did not come back"
	d=$(disk reset)
	echo 1 >"$function/reset"
	dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none &
	echo 1 >"/sys/block/$d/reset" || fail "the operator cannot reset a device whose reset did not end"
	wait $! || fail "a read failed while a reset did not end"
	# All goes on as if nothing had been: sizes, resets, changes of the path, and the removal, none of which waits.
	begin=$SECONDS
	host qmp block_resize node-name=reset size=$((96 << 20))
	wait_for 20 has_size "$d" $((96 << 20)) || fail "after a reset that did not end, a new size is not seen"
	host qmp block_resize node-name=reset size=$((64 << 20))
	echo 1 >"/sys/block/$d/reset"
	echo request >"/sys/block/$d/io_path"
	echo bio >"/sys/block/$d/io_path"
	bind_anew "${function##*/}"
	((SECONDS - begin < 100 * VSR_SLOWNESS)) || fail "who uses the device waits for a reset that did not end: $((SECONDS - begin)) s"
	wait_for 60 disk reset >/dev/null || fail "the disk did not come back"
	d=$(disk reset)
fi

reset_unbinding "${function##*/}" "$(virtio_device "$d")" reset $((VSR_SLOWNESS == 1 ? 5 : 40))
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
