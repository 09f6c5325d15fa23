# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Installed under updates/, loaded by udev at boot, told its mode on the kernel command line; a wrong value there is told, and
# keeps no disk away.
# driver: manual
wait_disk vda
[[ $MODE == c ]] || same "the module that modprobe prefers" "$(modinfo -F filename virtio_blk | grep -c updates/)" 1
prove_driver
case $MODE in
request) told_wrong virtio_blk use_bio maybe N "1, y, on for bios, 0, n, off for requests, or auto" ;;
bio) told_wrong virtio_blk num_request_queues some 0 "a number, 0 to 4294967295" ;;
esac
d=$(disk data)
settled
same "/dev/disk/by-id/virtio-data" "$(readlink -f /dev/disk/by-id/virtio-data)" "/dev/$d"
if [[ $MODE == request ]]; then
	# The example rule, without systemd, which this guest has not.
	mkdir -p /run/udev/rules.d
	sed -e 's,/usr/bin/systemd-run .*/virtio-blk-path %k bio,/bin/sh -c '"'$VSR_SRC/scripts/udev/virtio-blk-path %k bio >/dev/null 2>\&1 \&'"',' \
		-e 's/"fast\*"/"data*"/' "$VSR_SRC/scripts/udev/60-virtio-blk-path.rules" >/run/udev/rules.d/60-virtio-blk-path.rules
	wait_for 60 udevadm control --reload
	udevadm trigger --action=add "/sys/block/$d"
	changed()
	{
		grep -qx bio "/sys/block/$d/io_path"
	}
	wait_for 60 changed || fail "the rule did not change the path: $(cat /run/udev/rules.d/*) $(dmesg | tail)"
	settled
	same "its link after the change" "$(readlink -f /dev/disk/by-id/virtio-data)" "/dev/$d"
fi
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
unload
