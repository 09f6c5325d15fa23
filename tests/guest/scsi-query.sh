# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A command that the device has lost while it answers others: it is asked, and says so, and the command is sent again without
# an error, and without the operator. What it has, or has not taken yet, is waited for; so is all of one that does not say.
# limit: 400
[[ $MODE != c ]] || skip "the C driver waits for ever"
d=$(disk own)
other=$(disk own4k)
for unit in "$d" "$other"; do
	echo 1 >"/sys/block/$unit/device/timeout"
done
dd if=/dev/urandom of=/tmp/data bs=4k count=2 status=none
# begin NAME FAULT...: a write at 4 MiB of the first unit while these faults are in force.
begin()
{
	local words
	dmesg -C
	dd if=/dev/zero of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none
	host blkdev own mark "query-$1"
	for words in "${@:2}"; do
		host blkdev own fault "$words"
	done
	dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none &
	writer=$!
}
# ends NAME: it has been done.
ends()
{
	wait_for 60 not_running "$writer" || fail "$1: the write waits still: $(dmesg)"
	wait "$writer" || fail "$1: the write failed: $(dmesg)"
	cmp -n 4096 /tmp/data <(dd if="/dev/$d" bs=4k skip=1024 count=1 iflag=direct status=none) || fail "$1: other data"
	host blkdev own clear
}
seen()
{
	since "query-$1" "$(host blkdev own log)" | grep -c "$2" || true
}
not_reset()
{
	! told 'resetting the device' || fail "$1: it was reset: $(dmesg)"
	! not_running "$writer" || fail "$1: the write did not wait"
}
reset_by_operator()
{
	echo adapter >"$(scsi_host "$d")/host_reset" || fail "$1: the reset failed: $(dmesg)"
	ends "$1"
}
# Others are answered meanwhile, in the same queue.
fio --name=load --filename="/dev/$other" --rw=randwrite --verify=crc32c --do_verify=1 --verify_backlog=64 --direct=1 \
	--ioengine=io_uring --iodepth=4 --bs=4k --size=2m --rate_iops=100 --time_based --runtime=1000 --allow_file_create=0 \
	--output=/tmp/load.log &
load=$!
begin lost "op=write lba=8192 swallow"
ends lost
told 'a command was lost: not answered for [0-9]* s, .* 1 in all' || fail "no word of the loss: $(dmesg)"
told 'resetting the device, since it has lost commands' || fail "no word of the reset: $(dmesg)"
same "how often the device saw the lost write" "$(seen lost ' op=write unit=0:0 .* lba=8192 ')" 2
same "questions about the lost write" "$(seen lost ' op=query unit=0:0 ')" 2
# What is slow is waited for, and so is what was lost beside it: a reset would hold up storage that is slow.
begin slow "op=write unit=0:0 lba=8192 drop"
wait_for 60 told 'it is slow, nothing is lost' || fail "slow: nobody says so: $(dmesg)"
host blkdev own fault "op=write unit=1:3 lba=12288 swallow"
dd if=/tmp/data of="/dev/$other" bs=4k seek=12288 skip=1 count=1 oflag=direct conv=notrunc status=none &
both=$!
sleep 6
not_reset slow
! not_running $both || fail "slow: the lost write did not wait"
host blkdev own release
ends slow
wait_for 60 not_running $both || fail "slow: the lost write waits still: $(dmesg)"
wait $both || fail "slow: the lost write failed: $(dmesg)"
told 'a command was lost' || fail "slow: no word of the loss: $(dmesg)"
cmp -n 4096 <(tail -c 4096 /tmp/data) <(dd if="/dev/$other" bs=4k skip=12288 count=1 iflag=direct status=none) ||
	fail "slow: other data"
# One that the device has not taken from the ring is none that it has lost.
kill -INT $load
wait $load || true
! grep -qi 'verify:\|error=[^0 ]' /tmp/load.log || fail "I/O to another unit failed: $(cat /tmp/load.log)"
host blkdev own silence 2
dmesg -C
host blkdev own mark query-untaken
dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none &
writer=$!
sleep 10
not_reset untaken
same "questions about what was not taken" "$(seen untaken ' op=query ')" 0
host blkdev own resume
ends untaken
# One that does not know the question is not asked again until it is reset; nor is one that says nothing, of which the functions
# of error handling are none the fewer.
begin refused "op=write lba=8192 swallow" "op=query response=11"
wait_for 60 told 'does not tell whether it has what is late' || fail "refused: nobody says so: $(dmesg)"
sleep 4
not_reset refused
same "questions to who refused one" "$(seen refused ' op=query ')" 1
reset_by_operator refused
begin silent "op=write lba=8192 swallow" "op=query drop"
asked()
{
	[[ $(seen silent ' op=query ') != 0 ]]
}
wait_for 60 asked || fail "silent: it was not asked: $(dmesg)"
sleep 4
not_reset silent
same "questions to who is silent" "$(seen silent ' op=query ')" 1
sg_reset --no-esc --device "/dev/$d" || fail "silent: a reset of the unit fails"
reset_by_operator silent
# After that it is asked as before.
begin again "op=write lba=8192 swallow"
ends again
told 'resetting the device, since it has lost commands' || fail "again: no word of the reset: $(dmesg)"
for unit in "$d" "$other"; do
	echo 30 >"/sys/block/$unit/device/timeout"
done
