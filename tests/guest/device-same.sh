# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# QEMU's own device and tests/device, told the same: equal limits, and equal data after the same sequence.
qemu=$(disk same-qemu)
ours=$(disk same-ours)
limits()
{
	(cd "/sys/block/$1/queue" && grep -s '' ./*)
}
diff <(limits "$qemu") <(limits "$ours") || fail "the limits differ"
# The same seed, so the same data.
for d in "$qemu" "$ours"; do
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=512-128k --size=8m --randrepeat=1 --randseed=1 \
		--verify_pattern=0x5a --verify=pattern
	verify "$d" --direct=0 --ioengine=psync --bs=4k --size=4m --offset=16m --end_fsync=1 --randrepeat=1 --randseed=2 \
		--verify_pattern=0xa5 --verify=pattern
	fallocate --zero-range --offset 1m --length 300k "/dev/$d" || fail "zero range"
	# The driver may not have it yet; then neither disk shows it.
	if (($(read_attr "$d" discard_max_bytes) > 0)); then
		blkdiscard --offset 2m --length 1m "/dev/$d" || fail "discard"
		blkdiscard --zeroout --offset 4m --length 1m "/dev/$d" || fail "write zeroes"
	fi
	sync "/dev/$d"
done
cmp "/dev/$qemu" "/dev/$ours" || fail "the data differs"
log=$(host blkdev same-ours log)
grep -q ' op=write .* status=0 used=1$' "$log" || fail "no write in the log"
grep -q ' op=flush .* status=0 used=1$' "$log" || fail "no flush in the log"
! grep ' status=[1-9]' "$log" || fail "the device refused a request"
