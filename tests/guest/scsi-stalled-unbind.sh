# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The driver is unbound while a disk answers nothing: I/O fails, and the unbind ends.
# limit: 200
[[ $MODE != c ]] || skip "the C driver waits for ever"
expect_log 'I/O error, dev sd|Buffer I/O error'
d=$(disk stall)
echo 4 >"/sys/block/$d/device/timeout"
device=$(basename "$(readlink -f "/sys/block/$d/device/../../..")")
host stall on stall
dd if=/dev/zero of="/dev/$d" bs=64k count=4 oflag=direct status=none 2>/tmp/dd.log &
writer=$!
sleep 1
begin=$SECONDS
timeout 120 sh -c "echo $device >/sys/bus/virtio/drivers/virtio_scsi/unbind" || fail "the unbind did not end: $(dmesg)"
echo "unbound after $((SECONDS - begin)) s"
wait_for 20 not_running $writer || fail "the write did not end"
wait $writer && fail "the write did not fail"
host stall off stall
echo "$device" >/sys/bus/virtio/drivers/virtio_scsi/bind
wait_for 30 disk stall >/dev/null || fail "the disk did not come back"
verify "$(disk stall)" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=1m
