# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# io_path is written to: a disk that nobody has open comes back in the other mode under its name and number, one that is open
# stays. 200 times under I/O of another disk, opens of this one, and resizes; also while it is unplugged. The choice holds when
# the device is bound again.
# limit: 1800
[[ $MODE != c ]] || skip "the C driver has one path"
expect_log 'Buffer I/O error|I/O error, dev vd'
d=$(disk plug)
file=/sys/block/$d/io_path
other=$([[ $MODE == bio ]] && echo request || echo bio)
number=$(<"/sys/block/$d/dev")
# The disk is in use for a moment whenever something looks at it.
switch()
{
	local end=$((SECONDS + 60 * VSR_SLOWNESS))
	until echo "$1" 2>/tmp/switch.err >"$file"; do
		grep -q 'Device or resource busy' /tmp/switch.err || fail "$1 to io_path: $(</tmp/switch.err) $(dmesg | tail -n 20)"
		((SECONDS < end)) || fail "the disk is always busy"
		sleep 0.05
	done
}
content()
{
	dd if="/dev/$d" bs=4k count=1 iflag=direct status=none | tr -d '\0'
}
is()
{
	same "io_path" "$(<"$file")" "$1"
	same "its reason" "$(<"/sys/block/$d/io_path_reason")" "$2"
	same "its number" "$(<"/sys/block/$d/dev")" "$number"
}
printf '%-4096s' 'what must stay' | tr ' ' '\0' | dd of="/dev/$d" bs=4k oflag=direct status=none
is "$MODE" "parameter use_bio"
switch "$other"
is "$other" "written to io_path"
same "what the disk holds" "$(content)" whatmuststay
switch "$other"
is "$other" "written to io_path"
if [[ $other == bio ]]; then
	fails test -e "/sys/block/$d/mq"
else
	test -e "/sys/block/$d/mq/0" || fail "request mode without blk-mq"
fi
[[ ! -d /sys/kernel/debug/virtio_blk-$d ]] || grep -q added "/sys/kernel/debug/virtio_blk-$d/counters" || fail "no counters"
echo 100000 >/sys/module/virtio_blk/parameters/auto_time
echo 1000000 >/sys/module/virtio_blk/parameters/auto_latency
switch auto
same "what auto makes of it" "$(<"$file")" bio
grep -q '^measured: of 32 reads' "/sys/block/$d/io_path_reason" || fail "reason: $(<"/sys/block/$d/io_path_reason")"
switch "$other"
fails bash -c "echo maybe >$file" 2>/tmp/err
grep -q 'Invalid argument' /tmp/err || fail "a wrong path: $(</tmp/err)"

# Open, or a partition of it, or mounted: it stays.
busy()
{
	if echo "$MODE" 2>/tmp/err >"$file"; then
		fail "the path of a disk in use was changed"
	fi
	grep -q 'Device or resource busy' /tmp/err || fail "in use: $(</tmp/err)"
	dmesg | grep -q "\[$d\] is in use, and stays in $other mode" || fail "no word of the disk in use: $(dmesg)"
	is "$other" "written to io_path"
}
exec 7<"/dev/$d"
busy
exec 7<&-
switch "$MODE"
switch "$other"
partition "$d" 2048 20480
dmesg -C
exec 7<"/dev/${d}1"
busy
exec 7<&-
switch "$MODE"
wait_for 20 test -b "/dev/${d}1" || fail "the partition did not come back"
switch "$other"
mkfs.ext4 -q -F "/dev/$d"
mkdir -p /tmp/mnt
mount "/dev/$d" /tmp/mnt
echo kept >/tmp/mnt/file
dmesg -C
busy
umount /tmp/mnt
switch "$MODE"
mount "/dev/$d" /tmp/mnt
same "a file on the disk" "$(</tmp/mnt/file)" kept
umount /tmp/mnt

# 200 times, under all that may come.
load=$(disk data)
fio --name=load --filename="/dev/$load" --rw=randrw --bs=4k --direct=1 --ioengine=io_uring --iodepth=4 --size=8m --rate_iops=200 \
	--allow_file_create=0 --time_based --runtime=10000 --output=/tmp/load.log &
load=$!
python3 - "/dev/$d" <<'P' &
import errno, os, signal, sys, time
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
opened = refused = 0
while going:
    try:
        fd = os.open(sys.argv[1], os.O_RDONLY)
    except OSError as e:
        # It is not there, or about to go.
        if e.errno not in (errno.ENOENT, errno.ENXIO, errno.EBUSY):
            raise
        refused += 1
    else:
        # Who has it open can use it.
        for at in (0, 4096, 1 << 20):
            assert len(os.pread(fd, 4096, at)) == 4096
        os.close(fd)
        opened += 1
    time.sleep(0.01)
print(f"# opened {opened} times, refused {refused} times")
assert opened
P
opener=$!
begin=$SECONDS
for ((round = 0; round < 100; round++)); do
	switch "$other"
	((round % 10)) || host qmp block_resize node-name=plug size=$(((64 + round) << 20))
	switch "$MODE"
	! not_running $opener || fail "round $round: an opener failed"
	! not_running $load || fail "round $round: the other disk's I/O failed: $(cat /tmp/load.log)"
done
echo "# 200 changes of the path in $((SECONDS - begin)) s"
kill $opener
wait $opener || fail "an opener failed"
kill -INT $load
wait $load || true
grep -q 'err= 0' /tmp/load.log || fail "I/O of the other disk: $(cat /tmp/load.log)"
is "$MODE" "written to io_path"
wait_for 20 has_size "$d" $((154 << 20)) || fail "the size is $(blockdev --getsize64 "/dev/$d")"
host qmp block_resize node-name=plug size=$((64 << 20))
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m

# The choice holds over a new binding, and a reset of the device.
switch "$other"
device=$(virtio_device "$d")
echo "$device" >/sys/bus/virtio/drivers/virtio_blk/unbind
echo "$device" >/sys/bus/virtio/drivers/virtio_blk/bind
wait_for 30 disk plug >/dev/null || fail "the disk did not come back"
# Under another name, if the kernel has not quite let go of the old one: fio's rings go in the background.
d=$(disk plug)
file=/sys/block/$d/io_path
number=$(<"/sys/block/$d/dev")
is "$other" "written to io_path"
echo 1 >"/sys/block/$d/reset"
is "$other" "written to io_path"

# It is unplugged while its path is changed.
(
	for ((i = 0; i < 1000; i++)); do
		echo request >"$file" || true
		echo bio >"$file" || true
		[[ -e $file ]] || sleep 0.01
	done 2>/dev/null
) &
switcher=$!
sleep 2
host unplug plug
gone()
{
	[[ ! -e /sys/bus/virtio/devices/$device ]]
}
wait_for 60 gone || fail "the device is still there"
kill $switcher 2>/dev/null || true
wait $switcher || true
fails disk plug 2>/dev/null
host plug plug
wait_for 30 disk plug >/dev/null || fail "the disk is not found again"
d=$(disk plug)
file=/sys/block/$d/io_path
switch "$MODE"
verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=1m
# The module goes while a path is changed.
(while echo request >"$file" && echo bio >"$file"; do :; done) 2>/dev/null &
sleep 1
