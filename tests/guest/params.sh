# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Every spelling of a bool for use_bio; a wrong value refuses the load and the log names the parameter.
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
	for wrong in use_bio=maybe use_bio=2 num_request_queues=some num_request_queues=-1 queue_depth=x; do
		dmesg -C
		fails insmod "$VSR_KO" $wrong
		fails test -e /sys/module/virtio_blk
		dmesg | grep -q "${wrong%%=*}" || fail "after $wrong the log does not name ${wrong%%=*}: $(dmesg)"
	done
fi
