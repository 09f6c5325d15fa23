# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Installed under updates/, loaded by udev at boot, told its mode on the kernel command line; a wrong value there is told, and
# keeps no disk away.
# driver: manual
wait_disk vda
[[ $MODE == c ]] || same "the module that modprobe prefers" "$(modinfo -F filename virtio_blk | grep -c updates/)" 1
prove_driver
case $MODE in
request) told_wrong virtio_blk use_bio maybe N "1, y, on for bios, or 0, n, off for requests" ;;
bio) told_wrong virtio_blk num_request_queues some 0 "a number, 0 to 4294967295" ;;
esac
d=$(disk data)
udevadm settle --timeout=60
same "/dev/disk/by-id/virtio-data" "$(readlink -f /dev/disk/by-id/virtio-data)" "/dev/$d"
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
unload
