# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A command that the device never answers: error handling goes up as many rungs as the device refuses, and not one
# more; in the end the write is done, whatever the device refused. An interrupt that got lost harms nobody.
# limit: 800
[[ $MODE != c ]] || skip "the C driver waits for ever"
expect_log 'I/O error, dev sd'
d=$(disk own)
echo 2 >"/sys/block/$d/device/timeout"
# Whether the unit is ready, the device says when its turn comes, or when somebody found the interrupt that got lost.
echo 30 >"/sys/block/$d/device/eh_timeout"
echo 1 >/sys/module/virtio_scsi/parameters/virtscsi_timeouts
echo 2 >/sys/module/virtio_scsi/parameters/virtscsi_tmf_timeout
dd if=/dev/urandom of=/tmp/data bs=4k count=1 status=none
# climb NAME FAULT...: a write without an answer while these faults are in force.
climb()
{
	local name=$1 words load
	shift
	dmesg -C
	host blkdev own mark "$name"
	host blkdev own fault "op=write lba=8192 drop"
	for words; do
		host blkdev own fault "$words"
	done
	# Another unit works meanwhile, at other addresses, so that the fault is not for it.
	fio --name=load --filename="/dev/$(disk own4k)" --rw=randwrite --verify=crc32c --do_verify=1 --direct=1 \
		--ioengine=io_uring --iodepth=8 --bs=4k --size=2m --allow_file_create=0 --output=/tmp/load.log &
	# Not $! later: that is then of a process substitution.
	load=$!
	dd if=/dev/zero of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none
	timeout 120 dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none ||
		fail "$name: the write failed: $(dmesg)"
	cmp -n 4096 /tmp/data <(dd if="/dev/$d" bs=4k skip=1024 count=1 iflag=direct status=none) || fail "$name: other data"
	wait $load || fail "$name: I/O to another unit failed: $(cat /tmp/load.log)"
	same "$name: the state of the unit" "$(<"/sys/block/$d/device/state")" running
	host blkdev own clear
	since "$name" "$(host blkdev own log)" >/tmp/seen
}
# saw NAME FUNCTION...: exactly these functions, in this order, however often each.
saw()
{
	local name=$1
	shift
	same "$name: what the device saw" \
		"$(sed -nE 's/.* op=(abort|unit-reset|nexus-reset) .*/\1/p; s/^# ring 0 stops/restart/p' /tmp/seen | uniq | xargs)" "$*"
}
climb abort
saw abort abort
# Each unit by its own address.
for unit in own4k:1:3 high:255:300; do
	other=$(disk "${unit%%:*}")
	echo 2 >"/sys/block/$other/device/timeout"
	host blkdev own fault "op=read unit=${unit#*:} drop"
	timeout 120 dd if="/dev/$other" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "$unit: the read failed: $(dmesg)"
	grep -q "op=abort unit=${unit#*:} .*response=10" "$(host blkdev own log)" ||
		fail "no abort to $unit: $(grep op=abort "$(host blkdev own log)" | tail -n 3)"
	echo 30 >"/sys/block/$other/device/timeout"
done
# The unit was reset by somebody else when the error handler asked whether it is ready: that is no answer. Before, the next rung came.
climb unit "op=abort response=11 count=0" "op=ready response=4"
saw unit abort unit-reset
grep -q ' op=ready .*response=4' /tmp/seen || fail "unit: nobody asked whether it is ready: $(cat /tmp/seen)"
climb nexus "op=abort response=11 count=0" "op=unit-reset response=11 count=0"
saw nexus abort unit-reset nexus-reset
# What came and went before the reset, and the device told nobody, is seen after it.
host blkdev own add 13:0 unheard 2048 silently
# The first command after the reset is the error handler's own. If its interrupt got lost, that is not the unit's fault.
climb host "op=tmf response=11 count=0" "op=ready noirq"
saw host abort unit-reset nexus-reset restart
wait_for 60 disk unheard >/dev/null || fail "after the reset of the host, nobody looked for what is new: $(lsscsi)"
host blkdev own remove 13:0
# The host is reset by an administrator while error handling asks whether the unit is ready: nothing is wrong with the unit.
# Before, it was taken out of service.
asks()
{
	since amid "$(host blkdev own log)" | grep -q ' op=ready '
}
host blkdev own mark amid
for words in "op=write lba=8192 drop" "op=tmf response=11 count=0" "op=ready drop"; do
	host blkdev own fault "$words"
done
timeout 120 dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none &
writer=$!
wait_for 60 asks || fail "error handling does not ask: $(dmesg | tail)"
echo adapter >"$(scsi_host "$d")/host_reset" || fail "the host cannot be reset amid error handling"
wait_for 60 not_running $writer || fail "the write waits, after a reset amid error handling: $(dmesg | tail)"
wait $writer || fail "the write failed, after a reset amid error handling: $(dmesg | tail)"
same "the state of the unit that was reset amid error handling" "$(<"/sys/block/$d/device/state")" running
host blkdev own clear
# Functions without an answer: each costs its time limit, and the last rung gives them back, three a time: without that there would be
# none left for the third time, which comes below.
climb silent "op=tmf drop count=0"
saw silent abort unit-reset nexus-reset restart
# What the kernel itself sent, and nobody knows whether it was done, is not sent twice, however often its sender would allow:
# PERSISTENT RESERVE OUT, with sd's 30 s. registers NAME FAULT: the device loses one by IOC_PR_REGISTER; what comes back is
# PR_STS_RETRY_PATH_FAILURE.
registers()
{
	host blkdev own mark "$1"
	host blkdev own fault "op=other drop"
	host blkdev own fault "$2"
	same "$1: what the sender of a registration hears" "$(timeout 200 python3 -c "import fcntl, os, struct
print(hex(fcntl.ioctl(os.open('/dev/$d', os.O_RDWR), 0x401870C8, bytearray(struct.pack('QQII', 0, 1, 0, 0)))))")" 0xe0000
	host blkdev own clear
	since "$1" "$(host blkdev own log)" >/tmp/seen
	same "$1: registrations that the device saw" "$(grep -c ' op=other ' /tmp/seen)" 1
}
registers once "op=tmf drop count=0"
saw once abort unit-reset nexus-reset restart
# Nor what a reset of the unit ended, which says as little.
registers ended "op=abort response=11 count=0"
saw ended abort unit-reset
# With many commands in flight each rung costs its time limit once, and none is left out.
echo 2 >"/sys/block/$d/queue/nomerges"
for round in 1 2; do
	host blkdev own mark "deep$round"
	host blkdev own fault "op=write unit=0:0 drop count=32"
	host blkdev own fault "op=tmf drop count=0"
	timeout 200 fio --name=deep --filename="/dev/$d" --rw=randwrite --verify=crc32c --do_verify=1 --direct=1 --ioengine=io_uring \
		--iodepth=32 --bs=4k --size=256k --allow_file_create=0 --output=/tmp/deep.log || fail "deep: $(cat /tmp/deep.log)"
	host blkdev own clear
	since "deep$round" "$(host blkdev own log)" >/tmp/seen
	saw deep abort unit-reset nexus-reset restart
	for op in abort unit-reset nexus-reset; do
		same "deep: calls of $op" "$(grep -c " op=$op " /tmp/seen)" 1
	done
done
# A device that says that it did it, and did not.
climb liar "op=abort lie" "op=unit-reset lie" "op=nexus-reset lie count=0"
saw liar abort unit-reset nexus-reset restart
# An answer whose interrupt got lost: of a function, and of a command.
echo 30 >/sys/module/virtio_scsi/parameters/virtscsi_tmf_timeout
climb lost-function "op=abort noirq"
saw lost-function abort
echo 2 >/sys/module/virtio_scsi/parameters/virtscsi_tmf_timeout
# The time of error handling as a whole begins when something is done about the command, not when it was waited for.
scsi_host=$(scsi_host "$d")
echo 6 >"$scsi_host/eh_deadline"
echo 5 >/sys/module/virtio_scsi/parameters/virtscsi_timeouts
climb waited
saw waited abort
echo off >"$scsi_host/eh_deadline"
echo 1 >/sys/module/virtio_scsi/parameters/virtscsi_timeouts
# two_paths: who has another path is told at once, no second try on one that does not answer.
two_paths()
{
	host blkdev own add 13:0 path "$(<"/sys/block/$d/size")"
	wait_for 20 disk path >/dev/null || fail "a second path was not seen"
	modprobe -a dm-multipath dm-round-robin
	paths=("$(<"/sys/block/$d/dev")" "$(<"/sys/block/$(disk path)/dev")")
	export DM_DISABLE_UDEV=1
	dmsetup create paths --table \
		"0 $(<"/sys/block/$d/size") multipath 0 0 2 1 round-robin 0 1 1 ${paths[0]} 1 round-robin 0 1 1 ${paths[1]} 1" || fail dmsetup
	host blkdev own mark paths
	host blkdev own fault "op=write unit=0:0 lba=8192 drop count=0"
	timeout 120 dd if=/tmp/data of=/dev/mapper/paths bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none ||
		fail "the write by another path failed: $(dmesg)"
	host blkdev own clear
	cmp -n 4096 /tmp/data <(dd if="/dev/$(disk path)" bs=4k skip=1024 count=1 iflag=direct status=none) ||
		fail "the write did not go by the other path"
	same "tries on the dead path" "$(since paths "$(host blkdev own log)" | grep -c 'op=abort ')" 1
	# The same if the device says that the way to the unit is broken; who has the disk itself tries again.
	same "the paths" "$(dmsetup status paths | grep -o 'F [0-9]*' | xargs)" "F 1"
	dmsetup message paths 0 reinstate_path "${paths[0]}"
	dmsetup message paths 0 switch_group 1
	host blkdev own mark disrupted
	host blkdev own fault "op=write unit=0:0 lba=8192 response=6 count=0"
	timeout 60 dd if=/tmp/data of=/dev/mapper/paths bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none ||
		fail "the write by another path failed: $(dmesg)"
	same "tries on a broken way" "$(since disrupted "$(host blkdev own log)" | grep -c 'op=write unit=0:0 .*response=6')" 1
	host blkdev own clear
	host blkdev own fault "op=write unit=0:0 lba=8192 response=6 count=2"
	timeout 60 dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none ||
		fail "a write without another path was not tried again: $(dmesg)"
	dmsetup remove paths
	host blkdev own remove 13:0
}
# The debug kernel has no dm-multipath.
[[ $VSR_SLOWNESS != 1 ]] || two_paths
dmesg -C
# The message comes the 1st, 2nd, 4th, 8th, 16th time, interrupts were lost before, and that of another command may
# serve one of them.
for _ in $(seq 16); do
	host blkdev own fault "op=read lba=8192 noirq"
	cmp -n 4096 /tmp/data <(timeout 60 dd if="/dev/$d" bs=4k skip=1024 count=1 iflag=direct status=none) || fail "a lost interrupt"
	! dmesg | grep -q 'done without an interrupt' || break
done
dmesg | grep -q 'done without an interrupt' || fail "no message: $(dmesg)"
if dmesg | grep 'aborting it'; then
	fail "a lost interrupt was punished"
fi
# What was in flight when somebody resets the host was not done: it is done again.
echo 60 >"/sys/block/$d/device/timeout"
seen_writes()
{
	since reset-host "$(host blkdev own log)" >/tmp/seen
	[[ $(grep -c ' op=write unit=0:0 .* lba=8192 ' /tmp/seen) == "$1" ]]
}
host blkdev own mark reset-host
host blkdev own fault "op=write lba=8192 drop"
dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none &
write=$!
wait_for 20 seen_writes 1 || fail "the device saw no write: $(cat /tmp/seen)"
sg_reset --no-esc --host "/dev/$d" || fail "sg_reset --host"
wait_for 40 not_running $write || fail "the write waits still, after the host was reset"
wait $write || fail "the write failed when the host was reset"
seen_writes 2 || fail "the write was not done again after the host was reset: $(cat /tmp/seen)"
host blkdev own clear
# Events work after all that.
host blkdev own add 12:0 new 2048
wait_for 20 disk new >/dev/null || fail "a unit that came was not seen"
host blkdev own remove 12:0
# It is said of the host that it recovers, which nobody is at, and then a command comes back that is to be tried again: it is put
# aside until the end of that. A removal brings it; before, it waited for that command for ever.
put_aside()
{
	(($(<"/sys/block/$d/device/iodone_cnt") > $1))
}
seen_aside()
{
	since "aside $1" "$(host blkdev own log)" | grep -q ' op=write unit=0:0 .* lba=8192 '
}
virtio=$(basename "$(readlink -f "/sys/block/$d/device/../../..")")
for states in recovery "recovery cancel/recovery deleted/recovery"; do
	host blkdev own mark "aside ${#states}"
	host blkdev own fault "op=write lba=8192 drop response=5"
	before=$(($(<"/sys/block/$d/device/iodone_cnt")))
	dd if=/tmp/data of="/dev/$d" bs=4k seek=1024 count=1 oflag=direct conv=notrunc status=none &
	writer=$!
	wait_for 20 seen_aside ${#states} || fail "$states: the device saw no write"
	for state in $states; do
		echo "$state" >"$(scsi_host "$d")/state"
	done
	host blkdev own release
	wait_for 20 put_aside "$before" || fail "$states: the write did not come back"
	echo "$virtio" >/sys/bus/virtio/drivers/virtio_scsi/unbind &
	wait_for 60 not_running $! || fail "$states: the removal waits for what was put aside: $(dmesg | tail)"
	wait_for 20 not_running $writer || fail "$states: the write waits still"
	wait $writer || true
	host blkdev own clear
	echo "$virtio" >/sys/bus/virtio/drivers/virtio_scsi/bind
	wait_for 30 disk own >/dev/null || fail "$states: the disk did not come back: $(lsscsi)"
	d=$(disk own)
done
