# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# All commands of a disk are in flight, and more I/O waits for one: a read with RWF_NOWAIT says EAGAIN and does not wait;
# unbinding waits for all that the disk has taken, which the device does.
# driver: manual
load queue_depth=4
d=$(disk random)
device=$(virtio_device "$d")
driver=/sys/bus/virtio/drivers/virtio_blk
# A scheduler would take requests beyond that depth.
[[ $MODE == bio ]] || echo none >"/sys/block/$d/queue/scheduler"
host blkdev random silence
# So few that none of them waits in bio mode to be let into the line: the removal of the disk would wait for that one.
python3 "$VSR_SRC/tests/guest/readers.py" "/dev/$d" 8 &
readers=$!
all_wait()
{
	[[ $(cat /proc/$readers/task/*/stat | grep -c ') D ') == 8 ]]
}
wait_for 60 all_wait || fail "not all of 8 readers wait: $(cat /proc/$readers/task/*/stat)"
# What is let in would wait for ever.
python3 "$VSR_SRC/tests/guest/nowait.py" "/dev/$d" &
nowait=$!
wait_for 60 not_running $nowait || fail "a read that must not wait waits"
wait $nowait
echo "$device" >$driver/unbind &
unbind=$!
sleep 1
! not_running $unbind || fail "the disk was unbound, and 8 reads were not done"
host blkdev random resume
wait_for 60 not_running $readers || fail "the readers wait still"
wait $readers
wait_for 60 not_running $unbind || fail "the unbind does not end"
wait $unbind
echo "$device" >$driver/bind
wait_for 30 disk random >/dev/null || fail "the disk did not come back"
unload
