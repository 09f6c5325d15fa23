# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A device that lies at random: what ends well is right, all I/O ends, the guest lives, and an honest device is served
# afterwards. VSR_LIES says how often it lies, VSR_SEED how: the same lies again for the same seed. C is not asked: it hangs.
# limit: 7200
[[ $MODE != c ]] || skip "the C driver hangs"
expect_log 'I/O error, dev|Buffer I/O error|is not a head!|out of range|Synchronize Cache|Asking for cache data failed'
d=$(disk liar)
read -ra reset < <(operator_reset "$d")
told()
{
	host blkdev liar state | grep -o 'lies=[0-9]*' | cut -d = -f 2
}
rm -f /tmp/lies.stop /tmp/lies.truth
dd if=/dev/zero of="/dev/$d" bs=1M count=1 oflag=direct status=none
# One answer of eight.
host blkdev liar lies "$VSR_SEED" 8 "$VSR_LIES" >/dev/null
python3 "$VSR_SRC/tests/guest/lies.py" "/dev/$d" "${reset[@]}" &
program=$!
for ((now = 0; now < VSR_LIES; )); do
	not_running $program && break
	sleep 1
	now=$(told)
done
touch /tmp/lies.stop
host blkdev liar truth >/dev/null
echo "${reset[1]}" >"${reset[0]}" || fail "the reset failed"
touch /tmp/lies.truth
wait $program || fail "seed $VSR_SEED: $(dmesg | tail -n 20)"
((now >= VSR_LIES)) || fail "only $now lies"
echo "$(dmesg | grep -c 'is not a head\|out of range') broken rings, $(dmesg | wc -l) lines in the log"
# An honest device, by a driver that begins anew.
unload
load
wait_for 20 disk liar >/dev/null || fail "no disk"
verify "$(disk liar)" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=2m
