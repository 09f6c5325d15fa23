# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# mpathpersist, over dm-multipath with two paths: one key for both, which follows a path that went and came; each path may write.
# limit: 600
expect_log 'I/O error, dev sd|Buffer I/O error|device-mapper: multipath|rejecting I/O|reservation conflict'
# shellcheck source=tests/guest/multipath-lib.sh
. "$VSR_SRC/tests/guest/multipath-lib.sh"
start_multipath shared

put()
{
	printf "%4096s" "" | tr ' ' "$1" | dd of="$2" bs=4k count=1 iflag=fullblock oflag=direct conv=notrunc status=none
}

keys "before" ""
persist --out --register --param-sark=0xabc
# One for each path.
keys "after a registration" "0xabc 0xabc"
persist --out --reserve --param-rk=0xabc --prout-type=5
persist --in --read-reservation
grep -q 0xabc /tmp/persist.log || fail "no reservation: $(cat /tmp/persist.log)"
for d in $(path_disks); do
	put a "/dev/$map" || fail "no write by both paths"
	echo offline >"/sys/block/$d/device/state"
	put b "/dev/$map" || fail "no write without $d: $(dmsetup status)"
	echo running >"/sys/block/$d/device/state"
	wait_for 60 both_paths || fail "$d does not come back: $(dmsetup status)"
done
host=$(scsi_host "$d")
echo 1 >"/sys/block/$d/device/delete"
put c "/dev/$map" || fail "no write without $d"
echo - - - >"$host/scan"
wait_for 60 both_paths || fail "a path does not come back: $(dmsetup status)"
keys "with a path that came back" "0xabc 0xabc"
for ((n = 0; n < 8; n++)); do
	put d "/dev/$map" || fail "no write by both paths again"
done
persist --out --release --param-rk=0xabc --prout-type=5
persist --out --register --param-rk=0xabc --param-sark=0
keys "in the end" ""
stop_multipath
