# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Answers and events that a device should not give: every response code as the C driver takes it, false lengths, ids
# and events. What follows works.
# limit: 500
expect_log 'I/O error, dev sd|Buffer I/O error|id 0 is not a head!|id [0-9]+ out of range|Synchronize Cache'
d=$(disk own)
fault()
{
	host blkdev own fault "$1"
}
# told FAULT RESULT [CDB BYTES]: what user space gets to know; by default of a read of a block.
told()
{
	fault "$1"
	# On one CPU: the next command has the same tag, and so the same memory.
	same "$1" "$(taskset -c 0 python3 "$VSR_SRC/tests/guest/sgio.py" "$d" "${3:-28000000004000000100}" "${4:-512}")" "$2"
}
good='status=0x0 host=0x0 resid=0 sense=0'
failed()
{
	echo "status=0x0 host=$1 resid=0 sense=0"
}
is_here()
{
	disk "$1" >/dev/null 2>&1
}
gone()
{
	! is_here "$1"
}

counters=$(counters_of "$d")
if [[ $MODE != c ]]; then
	echo 0 >"$counters"
	same "what is counted after a write to the file" "$(grep bad-answers "$counters")" "bad-answers 0"
fi
read="op=read lba=64"
told "$read response=0 resid=0" "$good"
told "$read response=1" "$(failed 0x7)"   # OVERRUN: DID_ERROR
told "$read response=2" "$(failed 0x5)"   # ABORTED: DID_ABORT
told "$read response=3" "$(failed 0x4)"   # BAD_TARGET: DID_BAD_TARGET
told "$read response=4" "$(failed 0x8)"   # RESET: DID_RESET
told "$read response=5" "$(failed 0x2)"   # BUSY: DID_BUS_BUSY
told "$read response=6" "$(failed 0xe)"   # TRANSPORT_FAILURE: DID_TRANSPORT_DISRUPTED
told "$read response=7" "$(failed 0x4)"   # TARGET_FAILURE: DID_BAD_TARGET
told "$read response=8" 'status=0x18 host=0x0 resid=0 sense=0'   # NEXUS_FAILURE: a reservation conflict
told "$read response=9" "$(failed 0x7)"   # FAILURE: DID_ERROR
told "$read response=200" "$(failed 0x7)" # what nobody knows
[[ $MODE == c ]] || same "what is counted of these" "$(grep bad-answers "$counters")" "bad-answers 1"
# Residuals: true; larger than the transfer; of a command without data.
told "op=inquiry resid=100" 'status=0x0 host=0x0 resid=100 sense=0' 12000000fc00 252
told "$read resid=4294967295" 'status=0x0 host=0x0 resid=512 sense=0'
told "op=ready resid=7" "$good" 000000000000 0
# What the mid-layer would read beyond, or allocate, or ask for again without an end: a list of units that is longer than a
# target can have, designators that go on behind their page. It gets an error instead, and what fits; so does a program.
if [[ $MODE != c ]]; then
	told "op=luns resid=0" "$good" a00000000000000001000000 256
	for long in 0xfffffff8 0xffffffff 0x40010; do
		told "op=luns resid=0 data=0:$long" "$(failed 0x7)" a00000000000000001000000 256
	done
	told "op=inquiry resid=0" "$good" 120183010000 256
	told "op=inquiry resid=0 data=4:0x020100ff" "$(failed 0x7)" 120183010000 256
	dmesg | grep -q 'an answer that cannot be' || fail "no message of it"
	# A scan does without the list, and ends.
	fault "op=luns data=0:0xffffffff count=4"
	echo '0 0 -' >"$(scsi_host "$d")/scan"
	host blkdev own clear
fi
# Sense data: as it should be; longer than there is room for, without a warning (the C driver warns).
told "$read sense=3,0x11,0" 'status=0x2 host=0x0 resid=0 sense=18'
if [[ $MODE != c ]]; then
	told "$read sense=3,0x11,0 sense_len=4096" 'status=0x2 host=0x0 resid=0 sense=18'
	told "$read sense=3,0x11,0 sense_len=4294967295" 'status=0x2 host=0x0 resid=0 sense=18'
fi
# All bytes of what is longer than in the fixed format's first 18; the fault counts on in them.
fault "$read sense=3,0x11,0 sense_more=14"
same "32 bytes of sense data" "$(python3 "$VSR_SRC/tests/guest/sgio.py" "$d" 28000000004000000100 512 sense | xargs)" \
	"status=0x2 host=0x0 resid=0 sense=32 70000300000000180000000011000000000012131415161718191a1b1c1d1e1f"
# Done, or so the used ring says, without an answer: what an earlier command left in the same memory is none. The C driver
# takes it for one.
if [[ $MODE != c ]]; then
	for _ in 1 2 3; do
		told "$read response=0" "$good"
		told "$read unanswered" "$(failed 0x7)"
	done
fi
# The used length is nobody's business: nothing is done by it.
for used in 0 1 107 4294967295; do
	told "$read used=$used" "$good"
done
# sd tries again what may work then, and gives up what cannot.
for code in 1 4 5 6 9; do
	fault "$read response=$code"
	dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none || fail "no second try after $code"
done
for code in 2 3 7; do
	fault "$read response=$code"
	fails dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none
done
# A success of nothing is tried again, but not for ever, as the mid-layer does by itself.
if [[ $MODE != c ]]; then
	fault "$read resid=512"
	dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none || fail "no second try after nothing"
	fault "$read resid=512 count=0"
	dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none &
	reader=$!
	wait_for 60 not_running $reader || fail "a read that moves nothing has no end"
	fails wait $reader
fi
host blkdev own clear
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=512k
[[ $MODE != c ]] || return 0

# Events that mean nothing, or nobody: unknown kinds and reasons, other formats of an address, units that are not there,
# lengths that are wrong.
for words in "type=9" "type=1 reason=99 unit=0:0" "type=0x7fffffff reason=0xffffffff unit=0xffffffffffffffff" \
	"type=1 reason=1 unit=0x0200000000000000" "type=1 reason=2 unit=0x0100c00000000000" "type=1 reason=1 unit=200:5" \
	"type=1 reason=2 unit=200:5" "type=1 reason=1 unit=77:0" "type=3 reason=0x092a unit=0:77" \
	"type=3 reason=0xffff unit=0:0" "type=2 reason=1 unit=0:0" "type=1 reason=0 unit=0:0" "type=0" \
	"type=9 used=0" "type=9 used=3" "type=9 used=4294967295"; do
	host blkdev own event "$words count=3"
done
dmesg | grep -q 'unknown event 0x9' || fail "no message of an unknown event"
# Handled in their order: when this one is, the others were.
host blkdev own add 9:0 after 2048
wait_for 30 is_here after || fail "an event after the wrong ones was not handled: $(lsscsi)"
for name in own own4k high; do
	is_here $name || fail "$name went: $(lsscsi)"
done
# Missed: everything is looked at.
host blkdev own remove 9:0 silently
host blkdev own add 9:1 missed 2048 silently
host blkdev own add 10:300 missed2 2048 silently
host blkdev own event type=0x80000000
wait_for 60 gone after || fail "a unit that went unnoticed is there: $(lsscsi)"
for name in missed missed2; do
	wait_for 60 is_here $name || fail "a unit that came unnoticed was not found: $(lsscsi)"
done
# A flood, and what comes last in it is not lost. Then the driver goes under another.
host blkdev own event "type=1 reason=1 unit=9:1 count=200"
host blkdev own add 11:0 last 2048
wait_for 200 is_here last || fail "an event after a flood was lost"
host blkdev own event "type=1 reason=1 unit=0:0 count=100000"
sleep 0.5
unload
load
is_here own || fail "not found after it was loaded again"
host blkdev own forget
d=$(disk own)

# An id that is not in flight: the ring works no more, and the device is reset at once. No command waits for its timeout.
for words in id=other id=70000 double; do
	dmesg -C
	fault "op=read lba=64 $words"
	# The ring of each CPU, whichever is the broken one; `double` harms the one after it.
	for cpu in 0 1 0 1; do
		timeout 100 taskset -c $cpu dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none ||
			fail "$words: a read failed: $(dmesg)"
	done
	dmesg | grep -q 'resetting the device' || fail "$words: no reset: $(dmesg)"
	is_here own || fail "$words: the unit went"
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=256k --numjobs=2 --offset_increment=1m
done
# What was in flight is sent again: a write, a question that is answered with data (GET LBA STATUS; others the mid-layer sends again
# itself). If the unit wants to tell of the reset first, nobody but the mid-layer hears of it. Not a
# PERSISTENT RESERVE OUT, nor a STREAM CONTROL, of which nobody knows whether they were done: who sent them hears of a transport that
# failed (DID_TRANSPORT_MARGINAL). The same if it is an administrator who wants the reset.
seen()
{
	(($(since "$how" "$(host blkdev own log)" | grep -c " op=$1 ") >= $2))
}
host_reset=$(scsi_host "$d")/host_reset
for how in broken wanted; do
	host blkdev own mark $how
	fault "op=write lba=512 drop"
	fault "op=other drop"
	# The stream, the question, and its second try.
	fault "op=service drop count=2"
	fault "op=service sense=6,0x29,0"
	dd if=/dev/urandom of=/tmp/data bs=4k count=1 status=none
	dd if=/tmp/data of="/dev/$d" bs=4k seek=64 count=1 oflag=direct conv=notrunc status=none &
	writer=$!
	wait_for 20 seen write 1 || fail "$how: the device saw no write"
	python3 "$VSR_SRC/tests/guest/sgio.py" "$d" 5f000000000000000000 >/tmp/reserve &
	reserver=$!
	wait_for 20 seen other 1 || fail "$how: the device saw no reservation"
	python3 "$VSR_SRC/tests/guest/sgio.py" "$d" 9e140000000000000000000000000000 >/tmp/stream &
	streamer=$!
	wait_for 20 seen service 1 || fail "$how: the device saw no stream"
	python3 "$VSR_SRC/tests/guest/sgio.py" "$d" 9e120000000000000000000000180000 24 >/tmp/asked &
	asker=$!
	wait_for 20 seen service 2 || fail "$how: the device saw no question"
	if [[ $how == broken ]]; then
		fault "op=read lba=64 id=other"
		timeout 100 dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none || fail "a read failed: $(dmesg)"
	else
		echo adapter >"$host_reset" || fail "the host cannot be reset: $(dmesg)"
	fi
	for process in $writer $reserver $streamer $asker; do
		wait_for 60 not_running "$process" || fail "$how: what was in flight waits still: $(dmesg)"
		wait "$process" || fail "$how: what was in flight failed: $(dmesg)"
	done
	same "$how: the reservation" "$(cat /tmp/reserve)" "$(failed 0x14)"
	same "$how: the stream" "$(cat /tmp/stream)" "$(failed 0x14)"
	same "$how: the question" "$(cat /tmp/asked)" "$good"
	same "$how: writes, reservations, streams, questions" "$(for what in op=write op=other cdb=9e14 cdb=9e12; do
		since "$how" "$(host blkdev own log)" | grep -c " $what"
	done | xargs)" "2 1 1 3"
	cmp -n 4096 /tmp/data <(dd if="/dev/$d" bs=4k skip=64 count=1 iflag=direct status=none) || fail "$how: the write got lost"
done
# What changed when nobody could hear of it is seen after a reset: a size.
size_is()
{
	[[ $(<"/sys/block/$(disk missed)/size") == "$1" ]]
}
# A unit that says that nothing is connected to it is there as well, if it always said so: the same one, not one that came anew.
unit_of_array()
{
	stat -c %i "/sys/bus/scsi/devices/$(basename "$(scsi_host "$d")" | tr -cd 0-9):0:8:1"
}
fault "op=inquiry unit=8:1 data=0:0x2c000602 count=0"
host blkdev own add 8:1 array 2048
wait_for 30 unit_of_array >/dev/null 2>&1 || fail "a unit without a device was not found: $(dmesg | tail)"
array=$(unit_of_array)
host blkdev own resize 9:1 4096 silently
echo adapter >"$host_reset" || fail "the host cannot be reset: $(dmesg)"
wait_for 30 size_is 4096 || fail "a size that changed unheard is $(<"/sys/block/$(disk missed)/size")"
host blkdev own resize 9:1 2048
wait_for 30 size_is 2048 || fail "after a reset, an event of another size does nothing"
# Events come after all that a reset brings.
same "the unit without a device, after the reset" "$(unit_of_array)" "$array"
host blkdev own remove 8:1
# A false id in the event queue breaks that: it is repaired, and what came unheard is found.
dmesg -C
host blkdev own add 12:0 unheard 2048 silently
host blkdev own event "type=0 id=70000"
wait_for 60 is_here unheard || fail "the event queue was broken, and nobody looked what got lost: $(dmesg)"
dmesg | grep -q 'the event queue is broken' || fail "no word of the broken event queue: $(dmesg)"
host blkdev own remove 12:0
wait_for 30 gone unheard || fail "no events after the event queue was broken: $(dmesg)"
# One that is broken after each reset is given up, and so are its commands; who wants it resets it.
echo 2 >/sys/module/virtio_scsi/parameters/virtscsi_repairs
fault "id=other count=0"
dmesg -C
fails timeout 100 dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none
dmesg | grep -q 'the device works no more: it is reset' || fail "it was not given up: $(dmesg)"
host blkdev own clear
echo 10 >/sys/module/virtio_scsi/parameters/virtscsi_repairs
echo adapter >"$host_reset" || fail "the host cannot be reset: $(dmesg)"
dd if="/dev/$d" of=/dev/null bs=512 skip=64 count=1 iflag=direct status=none || fail "it does not work again: $(dmesg)"
