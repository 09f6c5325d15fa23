# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Devices that lie at random, side by side: what ends well is right, all I/O ends, the guest lives, and honest devices are
# served afterwards. VSR_LIES says how often they lie in all, VSR_LIARS how many they are, VSR_SEED how: the same lies again for
# the same seed; one answer of VSR_ODDS lies; VSR_GENTLE says that of those which a driver has to wait after one of so many is told.
# C is not asked: it hangs, see lies-kinds.
# limit: 7200
# shellcheck source=tests/guest/liars.sh
. "$VSR_SRC/tests/guest/liars.sh"
[[ $MODE != c ]] || skip "the C driver hangs"
expect_log "$LIES_LOG"
names=(liar)
for ((n = 1; n < VSR_LIARS; n++)); do
	names+=("liar$n")
done
share=$(((VSR_LIES + VSR_LIARS - 1) / VSR_LIARS))
liars_found "${names[@]}"
begin=$EPOCHREALTIME
for n in "${!names[@]}"; do
	liar_begins "${names[n]}" $((VSR_SEED * 100 + n)) "$VSR_ODDS" $share "$VSR_GENTLE"
done
left=("${names[@]}")
while ((${#left[@]})); do
	still=()
	for name in "${left[@]}"; do
		if liar_goes_on "$name"; then
			still+=("$name")
		else
			liar_ends "$name" $share
		fi
	done
	left=("${still[@]}")
done
awk "BEGIN { s = $EPOCHREALTIME - $begin; n = $((share * VSR_LIARS)); printf \"%d lies in %.0f s, %.1f a second\\n\", n, s, n / s }"
echo "$(dmesg | grep -c 'is not a head\|out of range\|wrote into desc') broken rings, $(dmesg | wc -l) lines in the log"
# Honest devices, by a driver that begins anew.
unload
load
disks=
for name in "${names[@]}"; do
	wait_for 20 disk "$name" >/dev/null || fail "no disk $name"
	disks+=${disks:+:/dev/}$(disk "$name")
done
verify "$disks" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=2m
