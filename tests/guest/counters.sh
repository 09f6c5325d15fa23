# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What each queue did, in debugfs: against what the guest did.
# driver: manual
[[ $MODE != c ]] || skip "the C driver has no counters"
load queue_depth=4
# column NAME: the sum over all queues.
column()
{
	counted "$file" "$1"
}
d=$(disk data)
file=$(counters_of "$d")
same "the lines of queues" "$(grep -c '^ *[0-9]' "$file")" 2
# Reading the serial number, in disk(), is a command, too.
(($(column added) > 0)) || fail "nothing was added: $(<"$file")"
echo 0 >"$file"
for name in added kicks kicks-saved interrupts completed deferred; do
	same "$name after a write to the file" "$(column $name)" 0
done
# One at a time: an add, its notification, whether it is wanted or not, and an interrupt.
dd if=/dev/zero of="/dev/$d" bs=4k count=50 oflag=direct status=none
same "what was added" "$(column added)" 50
same "what was completed" "$(column completed)" 50
same "kicks, sent and saved" $(($(column kicks) + $(column kicks-saved))) 50
(($(column kicks) > 0)) || fail "no kick: $(<"$file")"
(($(column interrupts) > 0 && $(column interrupts) <= 50)) || fail "interrupts: $(<"$file")"
same "what waited" "$(column waited) $(column refused) $(column ring-full)" "0 0 0"
# More than there are commands: in bio mode the rest waits in line.
d=$(disk slow)
file=$(counters_of "$d")
echo 0 >"$file"
fio --name=many --filename="/dev/$d" --rw=randread --bs=4k --direct=1 --ioengine=io_uring --iodepth=12 --number_ios=12 \
	--iodepth_batch_submit=12 --allow_file_create=0 --output=/tmp/fio.log || fail "fio: $(cat /tmp/fio.log)"
same "what was completed of many" "$(column completed)" 12
if [[ $MODE == bio ]]; then
	(($(column waited) > 0 && $(column longest) > 0)) || fail "the line: $(<"$file")"
	# virtio-pci's interrupts add what they make possible.
	same "what was left to a worker" "$(column deferred)" 0
fi
# The operator's reset, counted here and in the disk's own attribute, which nothing sets to zero.
same "resets" "$(grep '^resets' "$file")" "resets 0"
before=$(<"/sys/block/$d/reset")
echo 1 >"/sys/block/$d/reset"
same "resets after one" "$(grep '^resets' "$file") $(<"/sys/block/$d/reset")" "resets 1 $((before + 1))"
echo 0 >"$file"
same "resets after a write to the file" "$(grep '^resets' "$file") $(<"/sys/block/$d/reset")" "resets 0 $((before + 1))"
unload
fails test -e "/sys/kernel/debug/virtio_blk-$d"
