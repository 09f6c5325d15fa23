# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Each kind of lie on a disk of its own (VSR_KINDS), VSR_LIES / 10 of it on each: what a driver makes of it, in a line a kind. Ours has
# to stand all of them; of the C driver (DRIVER=c) this only tells, and it may well take the guest with it.
# limit: 1800
# shellcheck source=tests/guest/liars.sh
. "$VSR_SRC/tests/guest/liars.sh"
read -ra kinds <<<"$VSR_KINDS"
count=$((VSR_LIES / 10))
if [[ $MODE == c ]]; then
	expect_log .
	# Nobody resets the device for it: what waits for so long waits for ever.
	LIES_END=20
else
	expect_log "$LIES_LOG"
fi

none_runs()
{
	local kind
	for kind in "${kinds[@]}"; do
		not_running "${liar_programs[$kind]}" || return
	done
}

# What has become of the disks of the C driver, and whether it lets go of them.
c_ends()
{
	local kind device driver=/sys/bus/virtio/drivers/$VSR_MODULE
	local -A told devices
	for kind in "${kinds[@]}"; do
		touch "/tmp/$kind".{stop,truth}
		told[$kind]=$(host blkdev "$kind" truth)
		device=$(readlink -f "/sys/block/${liar_disks[$kind]}/device" | grep -o 'virtio[0-9]*' | tail -n 1)
		devices[$kind]=$device
	done
	wait_for 20 none_runs || true
	for kind in "${kinds[@]}"; do
		not_running "${liar_programs[$kind]}" || echo "I/O has not ended" >>"/tmp/$kind.writers"
		device=${devices[$kind]}
		echo "lies-kinds: unbinding $device ($kind)" >/dev/kmsg
		(echo "$device" >"$driver/unbind" && echo "unbound" && echo "$device" >"$driver/bind" && echo "bound again") >"/tmp/$kind.unbound" 2>&1 &
		# One after the other in the log, as long as none waits.
		wait_for 2 grep -q 'bound again' "/tmp/$kind.unbound" || true
	done
	sleep $((20 * VSR_SLOWNESS))
	for kind in "${kinds[@]}"; do
		echo "$kind (${devices[$kind]}, ${liar_disks[$kind]}): ${told[$kind]} lies; $(xargs <"/tmp/$kind.writers"); $(xargs <"/tmp/$kind.unbound")"
	done
	echo "the C driver is only told of"
	# It would wait for them for ever when it goes down.
	(sleep 10 && echo b >/proc/sysrq-trigger) &
	end_case 4
}

liars_found "${kinds[@]}"
for kind in "${kinds[@]}"; do
	liar_begins "$kind" "$VSR_SEED" 8 $count "$kind"
done
end=$((SECONDS + 60 * VSR_SLOWNESS))
left=("${kinds[@]}")
while ((${#left[@]})); do
	[[ $MODE != c || $SECONDS -lt $end ]] || c_ends
	still=()
	for kind in "${left[@]}"; do
		if liar_goes_on "$kind"; then
			still+=("$kind")
		elif [[ $MODE != c ]]; then
			liar_ends "$kind" $count
		fi
	done
	left=("${still[@]}")
done
[[ $MODE != c ]] || c_ends
