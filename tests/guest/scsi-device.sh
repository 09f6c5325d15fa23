# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The host of our own (tests/device): its units are found, hold their data, come, go and grow by its events.
# limit: 300
lsscsi
address()
{
	basename "$(readlink -f "/sys/block/$(disk "$1")/device")" | cut -d: -f2-
}
gone()
{
	! disk "$1" >/dev/null 2>&1
}
# logged REGEX: the device saw it.
logged()
{
	grep -qE "$1" "$(host blkdev own log)" || fail "the device saw nothing like '$1'"
}
same "the address of own" "$(address own)" 0:0:0
same "the address of own4k" "$(address own4k)" 0:1:3
# Logical unit 300 in flat addressing.
same "the address of high" "$(address high)" 0:255:16684
d=$(disk own)
same "write cache" "$(read_attr "$d" write_cache)" "write back"
same "the block size of own4k" "$(read_attr "$(disk own4k)" logical_block_size)" 4096
for page in sn di bl bdc lbpv; do
	sg_vpd -p $page "/dev/$d" >/dev/null || fail "sg_vpd -p $page"
done
same "units of target 1" "$(sg_luns -q "/dev/$(disk own4k)")" 0003000000000000
fails sg_raw "/dev/$d" ff 00 00 00 00 00 2>/tmp/sense
grep -q 'Illegal Request' /tmp/sense || fail "no sense data: $(cat /tmp/sense)"
verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-128k --bs_unaligned=0 --numjobs=2 --size=4m \
	--offset_increment=8m
verify "$(disk own4k)" --direct=1 --ioengine=io_uring --iodepth=16 --bsrange=4k-64k --size=4m
verify "$(disk high)" --direct=1 --ioengine=libaio --iodepth=4 --bs=4k --size=256k
blkdiscard --length 1M "/dev/$d"
cmp -n $((1 << 20)) "/dev/$d" /dev/zero || fail "what was discarded is not zero"
logged 'op=unmap .*unit=0:0 .*status=0x0'
dd if=/dev/zero of="/dev/$d" bs=4k count=1 conv=notrunc,fsync status=none
logged 'op=sync .*unit=0:0 .*status=0x0'
# What QEMU's own disks do not have: COMPARE AND WRITE, GET LBA STATUS; and WRITE SAME of data.
for file in old new; do
	head -c 512 /dev/urandom >/tmp/$file
done
sg_write_same --16 --in=/tmp/old --lba=100 --num=3 "/dev/$d" || fail "WRITE SAME"
cat /tmp/old /tmp/new >/tmp/both
compare_and_write=(sg_compare_and_write --in=/tmp/both --lba=101 --num=1 --xferlen=1024 "/dev/$d")
"${compare_and_write[@]}" || fail "COMPARE AND WRITE"
cat /tmp/old /tmp/new /tmp/old | cmp - <(dd if="/dev/$d" bs=512 skip=100 count=3 iflag=direct status=none) ||
	fail "other data after WRITE SAME and COMPARE AND WRITE"
status=0
"${compare_and_write[@]}" 2>/tmp/sense || status=$?
same "the status of a compare that differs (miscompare)" $status 14
sg_get_lba_status --brief --lba=100 "/dev/$d" | grep -q '^0x0*64 .* 0$' ||
	fail "block 100 is not mapped: $(sg_get_lba_status --brief --lba=100 "/dev/$d")"
# The priority of who asks: class 1 (real-time), level 3. The C driver tells the device of none.
if [[ $MODE != c ]]; then
	ionice -c 1 -n 3 dd if=/dev/zero of="/dev/$d" bs=4k count=1 seek=1000 oflag=direct conv=notrunc status=none
	logged 'op=write unit=0:0 .* prio=4 .* lba=8000 '
fi
sg_reset --no-esc --device "/dev/$d" || fail "sg_reset --device"
logged 'op=unit-reset unit=0:0 .*response=10'
# The C driver has no reset of a target.
if [[ $MODE != c ]]; then
	sg_reset --no-esc --target "/dev/$d" || fail "sg_reset --target"
	logged 'op=nexus-reset unit=0:0 .*response=10'
fi
# Each unit by its own address.
for unit in own4k:1:3 high:255:300; do
	sg_reset --no-esc --device "/dev/$(disk "${unit%%:*}")" || fail "sg_reset --device of $unit"
	logged "op=unit-reset unit=${unit#*:} .*response=10"
done

# Events: a unit comes, grows, goes.
host blkdev own add 9:300 plugged 2048
wait_for 20 disk plugged >/dev/null || fail "the unit did not come: $(lsscsi)"
p=$(disk plugged)
same "the address of plugged" "$(address plugged)" 0:9:16684
verify "$p" --direct=1 --ioengine=libaio --iodepth=4 --bs=4k --size=256k
grown()
{
	grep -qx 4096 "/sys/block/$p/size"
}
host blkdev own resize 9:300 4096
wait_for 20 grown || fail "its size is $(<"/sys/block/$p/size")"
host blkdev own remove 9:300
wait_for 20 gone plugged || fail "the unit did not go: $(lsscsi)"
disk own >/dev/null || fail "another unit went, too"
# A unit goes, though it is the target's first, and the others of the target stay.
host blkdev own add 10:0 first 2048
wait_for 20 disk first >/dev/null || fail "the first unit did not come: $(lsscsi)"
host blkdev own add 10:1 second 2048
wait_for 20 disk second >/dev/null || fail "the second unit did not come: $(lsscsi)"
second=$(disk second)
host blkdev own remove 10:0
wait_for 20 gone first || fail "the first unit did not go: $(lsscsi)"
same "the disk of the second unit" "$(disk second)" "$second"
verify "$second" --direct=1 --ioengine=libaio --iodepth=4 --bs=4k --size=256k
host blkdev own remove 10:1
wait_for 20 gone second || fail "the second unit did not go: $(lsscsi)"

# Which targets there are is asked by a command: some hosts know no functions, others say "no such target" of one that has
# no logical unit 0, as target 1. And a target that is not there gets that one question only, also when somebody else scans.
host blkdev own fault "op=tmf response=3 count=0"
host blkdev own mark scan
unload
load
for name in own own4k high; do
	disk $name >/dev/null || fail "$name is not found again: $(lsscsi)"
done
echo '- - -' >"$(scsi_host "$(disk own)")/scan"
host blkdev own clear
seen=$(since scan "$(host blkdev own log)")
if [[ $MODE != c ]]; then
	same "questions about target 77 in two scans" "$(grep 'unit=77:0 ' <<<"$seen" | sed -nE 's/.* op=(\S+) .* in=([0-9]+) .*/\1 \2/p' | xargs)" \
		"inquiry 0 inquiry 0"
fi
# A unit is announced while a scan asks whether its target is there, which it is not: who looks for the unit must not hold on to
# the target that the scan destroys then.
# asked TARGET: the last scan has asked about it.
asked()
{
	since "announced $1" "$(host blkdev own log)" | grep -q "op=inquiry unit=$1:0 "
}
if [[ $MODE != c ]]; then
	scan=$(scsi_host "$(disk own)")/scan
	for target in 77 120 200; do
		host blkdev own mark announced $target
		host blkdev own fault "op=inquiry unit=$target:0 drop"
		echo '- - -' >"$scan" &
		scanner=$!
		# Nobody waits longer than 2 s for the answer.
		until asked $target || not_running $scanner; do
			sleep 0.05
		done
		host blkdev own event "type=1 reason=1 unit=$target:1"
		sleep 0.4
		host blkdev own release
		wait_for 60 not_running $scanner || fail "a scan does not end"
	done
fi
# The VPD pages that the mid-layer keeps: the list, and each page of it once, if it is known to be safe; else the length of each
# first. Where it is not known, long pages are read whole, also those that are not kept.
# pages UNIT PAGES prints the questions about these pages with their allocation lengths.
pages()
{
	grep "unit=$1 " <<<"$seen" | sed -nE "s/.* cdb=1201($2)(....)00 .*/\\1:\\2/p" | xargs
}
ranges()
{
	[[ $(find "/sys/block/$(disk actuators)/queue/independent_access_ranges" -mindepth 1 -maxdepth 1 -type d | wc -l) == 8 ]]
}
kept="80|83|b0|b1|b2"
if [[ $MODE == c ]]; then
	same "how many questions about pages of a disk like QEMU's" "$(pages 2:0 "$kept" | wc -w)" 10
else
	same "the questions about pages of a disk like QEMU's" "$(pages 2:0 "00|$kept")" \
		"00:00ff 00:00ff 80:00ff 83:00ff b0:00ff b1:00ff b2:00ff"
fi
same "how many questions about pages of another disk" "$(pages 0:0 "$kept" | wc -w)" 10
wait_for 20 ranges || fail "the ranges of a disk of 8 actuators: $(ls "/sys/block/$(disk actuators)/queue/independent_access_ranges")"
