# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The guest goes down under I/O, and while the operator resets the device: it ends, without a complaint. The end of
# this case is the end of the guest.
# driver: manual
load
d=$(disk down)
mkfs.ext4 -q -F "/dev/$d"
mount "/dev/$d" /mnt
setsid fio --name=load --filename=/mnt/file --rw=randrw --bsrange=4k-256k --direct=1 --ioengine=libaio --iodepth=32 --numjobs=2 \
	--size=32m --time_based --runtime=600 --output=/tmp/load.log >/dev/null 2>&1 &
sleep 2
kill -0 $! || fail "fio does not run: $(cat /tmp/load.log)"
if [[ $MODE != c ]]; then
	read -r file word <<<"$(operator_reset "$d")"
	# After the device was stopped it fails.
	while sleep 0.1; do echo "$word" >"$file"; done >/dev/null 2>&1 &
fi
expect_log 'EXT4-fs|JBD2|Buffer I/O error|I/O error, dev [sv]d'
