#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Two guests share a logical unit; $ROLE is first, second, or again: the second's next boot. WRITE EXCLUSIVE -
# REGISTRANTS ONLY is type 3 in linux/pr.h and 5 for sg_persist; a conflict is SCSI status 0x18 (24), and EBADE.
set -eu
# shellcheck source=tests/guest/lib.sh
. "$VSR_SRC/tests/guest/lib.sh"
expect_log 'reservation conflict|I/O error, dev sd|Buffer I/O error'
CONFLICT=24
ONE=0x1111 TWO=0x2222 NEW=0x3333

meet()
{
	host meet "$1" || fail "the other guest has failed before '$1'"
}

# pr WANTED OPERATION NUMBER...: by the block layer
pr()
{
	local wanted=$1
	shift
	same "the result of $*" "$(python3 "$VSR_SRC/tests/guest/reservations.py" "/dev/$d" "$@")" "$wanted"
}

# By a SCSI command: the block layer asks for keys that outlive a power loss (APTPL), which tgt has not.
register()
{
	sg_persist --out --no-inquiry --register --param-sark="$1" "$sg" || fail "register $1"
}

# Writes a block of the letter at the block's number, by the block layer and by a SCSI command.
writes()
{
	local what
	what=$(put "$1" "$2" 2>&1) || fail "a write of $1: $what"
	same "what lies at $2" "$(look "$2")" "$1"
}

put()
{
	printf "%4096s" "" | tr ' ' "$1" | dd of="/dev/$d" bs=4k count=1 seek="$2" iflag=fullblock oflag=direct conv=notrunc status=none
}

# The letters that a block holds, each once.
look()
{
	dd if="/dev/$d" bs=4k count=1 skip="$1" iflag=direct status=none | fold -w1 | sort -u | tr -d '\n'
}

refused()
{
	local what before
	before=$(look "$2" | tr -d '\0')
	what=$(put "$1" "$2" 2>&1) && fail "a write of $1 was not refused"
	[[ $what == *"Invalid exchange"* ]] || fail "a write was refused with '$what', not with EBADE"
	# The same, as the SCSI layer sees it.
	sg_raw -s 4096 -i /dev/zero "$sg" 2a 00 00 00 00 "$(printf %02x $(($2 * 8)))" 00 00 08 00 >/tmp/raw 2>&1 &&
		fail "a WRITE(10) was not refused"
	grep -qi 'reservation conflict' /tmp/raw || fail "not a reservation conflict: $(cat /tmp/raw)"
	same "what lies at $2 after a refused write" "$(look "$2" | tr -d '\0')" "$before"
}

keys()
{
	sg_persist --in --no-inquiry --read-keys "$sg" | grep -o '0x[0-9a-f]*$' | sort | tr '\n' ' ' | sed 's/ $//'
}

holder()
{
	sg_persist --in --no-inquiry --read-reservation "$sg" | sed -n 's/^ *Key *= *//p'
}

# shellcheck disable=SC2119 # no further parameters
load
d=$(disk shared)
sg=/dev/$(basename "/sys/block/$d/device/scsi_generic/"*)

first()
{
	meet loaded
	writes a 1
	# By SCSI commands from user space.
	register $ONE
	sg_persist --out --no-inquiry --reserve --param-rk=$ONE --prout-type=5 "$sg" || fail "reserve"
	same "the holder's key" "$(holder)" $ONE
	writes b 1
	meet reserved
	meet registered
	writes c 1
	meet preempts
	meet preempted
	# The target says so once, by a unit attention.
	sg_persist --in --no-inquiry --read-keys "$sg" >/tmp/attention 2>&1 && fail "no unit attention"
	grep -q 'Reservations preempted' /tmp/attention || fail "another error: $(cat /tmp/attention)"
	# Fenced: the key is gone, and with it the right to write, not to read.
	same "the keys" "$(keys)" $TWO
	refused d 1
	same "what lies at 2" "$(look 2)" q
	pr $CONFLICT reserve $ONE 3
	meet fenced
	# The other is killed now; its reservation stands, until it is taken over.
	refused e 1
	same "the holder's key" "$(holder)" $TWO
	register $NEW
	writes f 1
	pr 0 preempt $NEW $TWO 3
	same "the keys" "$(keys)" $NEW
	same "the holder's key" "$(holder)" $NEW
	writes g 1
	meet taken
	meet checked
	same "what lies at 1" "$(look 1)" g
	# A wrong key releases nothing; the right one does, for all.
	pr $CONFLICT release $TWO 3
	pr 0 release $NEW 3
	pr 0 clear $NEW
	same "the keys" "$(keys)" ""
	meet released
	meet end
}

second()
{
	meet loaded
	meet reserved
	same "what lies at 1" "$(look 1)" b
	same "the keys" "$(keys)" $ONE
	same "the holder's key" "$(holder)" $ONE
	refused p 2
	# By the block layer. A registrant may write.
	pr $CONFLICT preempt $TWO $ONE 3
	register $TWO
	same "the keys" "$(keys)" "$ONE $TWO"
	writes p 2
	pr $CONFLICT reserve $TWO 3
	meet registered
	meet preempts
	pr 0 preempt $TWO $ONE 3
	same "the holder's key" "$(holder)" $TWO
	writes q 2
	meet preempted
	meet fenced
	host '!kill'
	sleep 60
	fail "it lives"
}

again()
{
	meet taken
	# Not the key's, for that was the boot before.
	same "the keys" "$(keys)" $NEW
	refused r 2
	same "what lies at 1" "$(look 1)" g
	meet checked
	meet released
	writes s 2
	meet end
}

$ROLE
unload
