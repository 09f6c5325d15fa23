# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What each queue of a SCSI host did, in debugfs: against what the guest did.
[[ $MODE != c ]] || skip "the C driver has no counters"
d=$(for disk in /sys/block/sd*; do echo "${disk##*/}"; done | head -n 1)
file=$(counters_of "$d")
# count LINES NAME: the sum of a column over the lines that match.
count()
{
	counted "$file" "$2" "$1"
}
# The device has buffers for its events.
(($(count event added) > 0)) || fail "no buffers for events: $(<"$file")"
(($(count '^[0-9]' added) > 0)) || fail "nothing was added: $(<"$file")"
echo 0 >"$file"
for name in added kicks kicks-saved interrupts completed ring-full deferred repaired; do
	same "$name after a write to the file" "$(count . $name)" 0
done
dd if="/dev/$d" of=/dev/null bs=4k count=50 iflag=direct status=none
# Nobody else uses the disk; a look at the medium may come.
added=$(count '^[0-9]' added)
((added >= 50 && added < 60)) || fail "50 reads: $(<"$file")"
same "what was completed" "$(count '^[0-9]' completed)" "$added"
same "kicks, sent and saved" $(($(count '^[0-9]' kicks) + $(count '^[0-9]' kicks-saved))) "$added"
(($(count '^[0-9]' interrupts) > 0)) || fail "no interrupt: $(<"$file")"
# A reset goes by the control queue.
sg_reset --device "/dev/$d" || fail sg_reset
same "what the control queue did" "$(count control added) $(count control completed)" "1 1"
# What the host did as a whole.
same "what the host counts" "$(tail -n 3 "$file" | tr '\n' ' ')" "bad-answers 0 late 0 resets 0 "
echo adapter >"$(scsi_host "$d")/host_reset" || fail host_reset
same "resets after one" "$(grep '^resets' "$file")" "resets 1"
echo 0 >"$file"
same "resets after a write to the file" "$(grep '^resets' "$file")" "resets 0"
