# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The host's errors reach the program that asked, and sg sees the sense data.
expect_log 'Buffer I/O error|I/O error, dev sd|critical (medium|space allocation|target) error, dev sd'
python3 "$VSR_SRC/tests/guest/errors.py" "$(disk bad-read)" "$(disk bad-write)" "$(disk bad-flush)" "$(disk no-space)" \
	ENOSPC
for name in bad-read:28:10 bad-write:2a:10; do
	IFS=: read -r what _ <<<"$name"
	sg=/dev/$(ls "/sys/block/$(disk "$what")/device/scsi_generic")
	if [[ $what == bad-read ]]; then
		fails sg_raw --request=512 "$sg" 28 00 00 00 08 00 00 00 01 00 2>/tmp/sense
	else
		head -c 512 /dev/zero >/tmp/zeroes
		fails sg_raw --send=512 --infile=/tmp/zeroes "$sg" 2a 00 00 00 08 00 00 00 01 00 2>/tmp/sense
	fi
	grep -q 'Sense Information' /tmp/sense || fail "$what without sense data: $(cat /tmp/sense)"
	grep -qE 'Medium Error|Aborted Command|Hardware Error' /tmp/sense || fail "$what: $(cat /tmp/sense)"
done
