# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A lost completion, a lost interrupt, a device that takes nothing any more: the disk in use finds what is done, says what is
# late, and waits; its removal gives up after 30 s, and ends.
# limit: 300
[[ $MODE != c ]] || skip "the C driver waits for ever"
names="random reversed reconnect"
declare -A disks virtio readers
# Asks all disks for their serial numbers, so not later: an interrupt for one request serves all.
for name in $names; do
	disks[$name]=$(disk "$name") || fail "no disk $name"
	virtio[$name]=$(virtio_device "${disks[$name]}")
done
# lose NAME COMMAND...: a read that this command makes wait.
lose()
{
	local name=$1
	shift
	host blkdev "$name" "$@" || fail "$*"
	dd if="/dev/${disks[$name]}" of=/dev/null bs=4k count=1 skip=5 iflag=direct status=none &
	readers[$name]=$!
}
lose random fault op=read drop count=0
lose reversed fault op=read noirq count=0
lose reconnect silence
sleep 2
for name in random reconnect; do
	! not_running "${readers[$name]}" || fail "the reader of $name did not wait"
done
# The lost interrupt is found; what is done is done.
host blkdev reversed clear
wait_for 20 not_running "${readers[reversed]}" || fail "the lost interrupt was not found: $(dmesg)"
wait "${readers[reversed]}" || fail "the read whose interrupt got lost failed"
dmesg | grep "${virtio[reversed]}: .* done without an interrupt" || fail "no word of the lost interrupt: $(dmesg)"
expect_late()
{
	dmesg | grep -q "${virtio[$1]}: .*slow storage: 1 commands wait"
}
wait_for 40 expect_late random || fail "no word of the lost completion: $(dmesg)"
lose reversed fault op=read noirq count=0
# A late answer is as good as any.
host blkdev random clear
host blkdev random release
wait_for 10 not_running "${readers[random]}" || fail "the released read does not end"
wait "${readers[random]}" || fail "the released read failed"
lose random fault op=read drop count=0
host blkdev random fault op=write drop count=0
dd if=/dev/zero of="/dev/${disks[random]}" bs=4k count=1 seek=50 oflag=direct conv=notrunc status=none &
readers[writer]=$!
sleep 1
begin=$SECONDS
removals=()
for name in $names; do
	echo "${virtio[$name]}" >/sys/bus/virtio/drivers/virtio_blk/unbind &
	removals+=($!)
done
for pid in "${removals[@]}" "${readers[@]}"; do
	wait_for 100 not_running "$pid" || fail "something waits still, $((SECONDS - begin)) s after the removal"
done
# What the device did not do is not done, and who waits hears of it. The answer to the read of `reversed` was there.
for name in random reconnect writer; do
	if wait "${readers[$name]}"; then
		fail "the I/O of $name that the device never did succeeded"
	fi
done
echo "the removal took $((SECONDS - begin)) s"
# A device that was given up is as good as new after the next probe.
for name in $names; do
	host blkdev "$name" clear
	host blkdev "$name" resume
	echo "${virtio[$name]}" >/sys/bus/virtio/drivers/virtio_blk/bind
	wait_for 10 disk "$name" >/dev/null || fail "no disk $name after the next probe"
	verify "$(disk "$name")" --direct=1 --ioengine=io_uring --iodepth=8 --bs=4k --size=64k
done
