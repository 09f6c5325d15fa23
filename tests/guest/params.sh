# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Every spelling of a bool for use_bio; a wrong value is told, with the choices, and the default counts; a write of it is refused.
# driver: manual
# limit: 180
[[ $MODE != c ]] || skip "the C driver has no use_bio"
if [[ $MODE == bio ]]; then
	spellings="1 y Y on yes"
	shown=Y
else
	spellings="0 n N off no"
	shown=N
fi
for word in $spellings; do
	insmod "$VSR_KO" use_bio="$word" || fail "use_bio=$word was refused"
	prove_driver
	same "the parameter after use_bio=$word" "$(cat /sys/module/virtio_blk/parameters/use_bio)" $shown
	unload
done
if [[ $MODE == bio ]]; then
	# The bare name means yes, as with every bool of the kernel.
	insmod "$VSR_KO" use_bio
	prove_driver
	unload
else
	insmod "$VSR_KO"
	prove_driver
	unload
	for wrong in use_bio=maybe use_bio=2 num_request_queues=some num_request_queues=-1 queue_depth=x queue_depth; do
		name=${wrong%%=*}
		choices="a number, 0 to 4294967295" default=0
		[[ $name != use_bio ]] || choices="1, y, on for bios, 0, n, off for requests, or auto" default=N
		dmesg -C
		# The first word is the one of, say, modprobe's configuration.
		insmod "$VSR_KO" "$name=1" "$wrong" || fail "$wrong refused the load"
		prove_driver
		if [[ $wrong == *=* ]]; then
			told_wrong virtio_blk "$name" "${wrong#*=}" $default "$choices"
		else
			dmesg | grep -F "virtio_blk: the parameter $name has no value: it takes $choices; its default counts, $default"
			same "$name after $wrong" "$(cat "/sys/module/virtio_blk/parameters/$name")" $default
		fi
		unload
	done
	insmod "$VSR_KO" num_request_queues=1
	fails sh -c 'echo some >/sys/module/virtio_blk/parameters/num_request_queues'
	fails sh -c 'echo -1 >/sys/module/virtio_blk/parameters/num_request_queues'
	same "num_request_queues after a wrong write" "$(cat /sys/module/virtio_blk/parameters/num_request_queues)" 1
	unload
fi
