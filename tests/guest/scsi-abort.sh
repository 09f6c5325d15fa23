# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A disk that is slower than its timeout: each try is aborted, the device answers the aborts, and in the end there is
# an error, without any reset. With patience for more than one timeout there is none.
# limit: 300
[[ $MODE != c ]] || skip "the C driver waits for ever"
expect_log 'I/O error, dev sd|Buffer I/O error'
d=$(disk late)
echo 1 >/sys/module/virtio_scsi/parameters/virtscsi_timeouts
echo 20 >/sys/module/virtio_scsi/parameters/virtscsi_tmf_timeout
echo 2 >"/sys/block/$d/device/timeout"
dmesg -C
fails timeout 200 dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none
dmesg | grep -q 'aborting it' || fail "nothing was aborted: $(dmesg)"
if dmesg | grep -q 'not answered for .* s; waiting'; then
	fail "one timeout was enough: $(dmesg)"
fi
if dmesg | grep -q 'resetting the device'; then
	fail "an abort was enough: $(dmesg)"
fi
echo 10 >/sys/module/virtio_scsi/parameters/virtscsi_timeouts
dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "a slow read failed: $(dmesg)"
echo 0 >/sys/module/virtio_scsi/parameters/virtscsi_timeouts
dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct status=none || fail "a slow read failed: $(dmesg)"
