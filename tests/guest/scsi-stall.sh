# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A disk that answers nothing, not even an abort: up the ladder to a reset, after which all I/O goes on.
# limit: 300
[[ $MODE != c ]] || skip "the C driver waits for ever"
expect_log 'I/O error, dev sd'
d=$(disk stall)
echo 5 >"/sys/block/$d/device/timeout"
echo 5 >"/sys/block/$d/device/eh_timeout"
echo 1 >/sys/module/virtio_scsi/parameters/virtscsi_timeouts
echo 1 >/sys/module/virtio_scsi/parameters/virtscsi_tmf_timeout
dd if=/dev/urandom of=/tmp/data bs=64k count=4 status=none
dmesg -C
host stall on stall
dd if=/tmp/data of="/dev/$d" bs=64k count=4 oflag=direct status=none &
writer=$!
# Another unit works meanwhile, and through the reset.
fio --name=load --filename="/dev/$(disk data)" --rw=randwrite --verify=crc32c --do_verify=1 --direct=1 --ioengine=io_uring \
	--iodepth=16 --bs=4k --size=16m --allow_file_create=0 --output=/tmp/load.log &
load=$!
said()
{
	dmesg | grep -q "$1"
}
for step in 'aborting it' 'device reset'; do
	wait_for 60 said "$step" || fail "no '$step' in the log: $(dmesg)"
done
host stall off stall
wait_for 90 not_running $writer || fail "the write does not end: $(dmesg)"
wait $writer || fail "the write failed: $(dmesg)"
cmp -n $((256 << 10)) /tmp/data "/dev/$d" || fail "the disk does not hold what was written"
wait_for 60 not_running $load || fail "I/O to another unit does not end"
wait $load || fail "I/O to another unit failed: $(cat /tmp/load.log)"
for name in stall data; do
	same "the state of $name" "$(<"/sys/block/$(disk $name)/device/state")" running
done
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=1m
# Events work after the reset.
host lun add new 9 0 data-new
wait_for 20 disk new >/dev/null || fail "a unit that came after the reset was not seen"
