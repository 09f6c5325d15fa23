# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Installed under updates/, loaded by udev at boot, told its mode on the kernel command line.
# driver: manual
wait_disk vda
[[ $MODE == c ]] || same "the module that modprobe prefers" "$(modinfo -F filename virtio_blk | grep -c updates/)" 1
prove_driver
d=$(disk data)
udevadm settle --timeout=60
same "/dev/disk/by-id/virtio-data" "$(readlink -f /dev/disk/by-id/virtio-data)" "/dev/$d"
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
unload
