# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The driver is unbound while a disk answers nothing: I/O fails, and the unbind ends, also if the command that waits has an hour for
# its answer; and if somebody has said that the host recovers, which nobody is at.
# limit: 300
[[ $MODE != c ]] || skip "the C driver waits for ever"
expect_log 'I/O error, dev sd|Buffer I/O error'
device=$(basename "$(readlink -f "/sys/block/$(disk stall)/device/../../..")")
for seconds in 4 3600; do
	d=$(disk stall)
	echo $seconds >"/sys/block/$d/device/timeout"
	host stall on stall
	dd if=/dev/zero of="/dev/$d" bs=64k count=4 oflag=direct status=none 2>/tmp/dd.log &
	writer=$!
	sleep 1
	begin=$SECONDS
	timeout 120 sh -c "echo $device >/sys/bus/virtio/drivers/virtio_scsi/unbind" || fail "the unbind did not end: $(dmesg)"
	echo "timeout of $seconds s: unbound after $((SECONDS - begin)) s"
	wait_for 20 not_running $writer || fail "the write did not end"
	wait $writer && fail "the write did not fail"
	host stall off stall
	echo "$device" >/sys/bus/virtio/drivers/virtio_scsi/bind
	wait_for 30 disk stall >/dev/null || fail "the disk did not come back"
done
echo recovery >"$(scsi_host "$(disk stall)")/state"
timeout 60 sh -c "echo $device >/sys/bus/virtio/drivers/virtio_scsi/unbind" || fail "a host in recovery cannot be unbound: $(dmesg)"
echo "$device" >/sys/bus/virtio/drivers/virtio_scsi/bind
wait_for 30 disk stall >/dev/null || fail "the disk did not come back"
verify "$(disk stall)" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=1m
