# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# use_bio=auto: a fast disk is in bio mode, a slow one in request mode, and so is one that does not answer, in bounded time,
# and one of zones; nothing is written, nobody sees a disk before. The reason is in sysfs and in the log.
# driver: manual
# limit: 600
[[ $MODE != c ]] || skip "the C driver has one path"
# shellcheck source=tests/guest/blkdev.sh
. "$VSR_SRC/tests/guest/blkdev.sh"
# path DISK WANTED REASON
path()
{
	same "io_path of $1" "$(<"/sys/block/$1/io_path")" "$2"
	local why
	why=$(<"/sys/block/$1/io_path_reason")
	[[ $why =~ $3 ]] || fail "io_path_reason of $1 is '$why', not like '$3'"
	dmesg | grep -qF "[$1] $2 mode: $why" || fail "the log does not say '$why' of $1: $(dmesg)"
}
expect_log "Buffer I/O error|I/O error, dev vd"
udevadm monitor --kernel --subsystem-match=block >/tmp/uevents &
monitor=$!
wait_for 20 grep -q 'kernel uevent' /tmp/uevents || fail "udevadm monitor does not start"
# Generous, so that a machine with other work is no slow disk. The slow one takes 100 ms a read.
insmod "$VSR_KO" use_bio=auto auto_latency=50000 auto_time=100000
same "the parameter" "$(</sys/module/virtio_blk/parameters/use_bio)" auto
fast='^measured: of 32 reads three in four took [0-9]+ us at most$'
path "$(disk fast1)" bio "$fast"
path "$(disk fast2)" bio "$fast"
# Blocks larger than a page want huge pages, which the debug kernel has not.
[[ ! -d /sys/kernel/mm/transparent_hugepage ]] || path "$(disk big-blocks)" bio "$fast"
path "$(disk slow)" request '^measured: 9 of up to 32 reads took more than 50000 us$'
path "$(disk none)" request '^measured: the device cannot be read$'
path "$(disk unreadable)" request '^measured: the device cannot be read$'
verify "$(disk data)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
sleep 1
kill $monitor
for disk in /sys/block/vd*; do
	same "the events of ${disk##*/}" "$(grep -cE "(add|remove) .*/block/${disk##*/} " /tmp/uevents)" 1
	[[ ${disk##*/} == "$(disk data)" ]] || same "writes to ${disk##*/}" "$(host writes "$(serial "$disk")")" 0
done

# One that answers no read: the time limit. It is waited for as in request mode.
echo 500 >/sys/module/virtio_blk/parameters/auto_time
blkdev_start deaf '"queues": 2, "faults": ["op=read drop count=0"]'
deaf()
{
	grep -l 'measured: 0 of 32 reads were answered in 500 ms' /sys/block/vd*/io_path_reason
}
wait_for 20 deaf || fail "the disk that does not answer does not come: $(dmesg)"
d=$(basename "$(dirname "$(deaf)")")
path "$d" request '^measured: 0 of 32 '
blkdev deaf clear
blkdev deaf release
wait_for 20 dd if="/dev/$d" of=/dev/null bs=4k count=1 iflag=direct || fail "the disk does not work"
blkdev_stop deaf
# One whose interrupts get lost is looked at.
echo 100000 >/sys/module/virtio_blk/parameters/auto_time
blkdev_start mute '"queues": 2, "faults": ["op=read noirq count=3"]'
wait_for 60 disk mute >/dev/null || fail "no disk: $(dmesg)"
path "$(disk mute)" bio "$fast"
not_logged mute 'op=(write|flush|discard)'
blkdev_stop mute
# It goes away while it is measured.
blkdev_start leaving '"faults": ["op=read drop count=0"]'
sleep 1
blkdev_stop leaving
blkdev_start zones '"capacity": 65536, "queues": 2, "zones": {"size": 8192}'
if wait_for 20 disk zones >/dev/null; then
	path "$(disk zones)" request '^a disk of zones,'
fi
blkdev_stop zones

# A threshold that no disk reaches.
unload
insmod "$VSR_KO" use_bio=auto auto_latency=0 auto_reads=4
path "$(disk fast1)" request '^measured: 2 of up to 4 reads took more than 0 us$'
unload
# What the operator says is not measured.
insmod "$VSR_KO" use_bio=1
same "the reason" "$(<"/sys/block/$(disk slow)/io_path_reason")" "parameter use_bio"
unload
