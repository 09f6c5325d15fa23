# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The sample, a SCSI host without hardware: as many disks as it is told, each with memory of its own, which hold what is
# written; commands that it does not know, blocks that are not there, resets, and its removal.
# driver: manual
# limit: 300
[[ $MODE != c ]] || skip "the kernel has no such host"

# targets prints how many disks of the sample lsscsi shows.
targets()
{
	lsscsi | grep -c 'disk  *Rust  *RAM disk  *1.0 ' || true
}

# What the module needs is there, so its own word is what refuses it.
modprobe scsi_mod
for bad in targets=0 targets=257 size_mib=0; do
	fails insmod "$VSR_KO" $bad
done
same "refused values that the log names" "$(dmesg | grep -c "$VSR_MODULE: targets is 1 to 256, size_mib is 1 to 65536")" 3
fails test -e "/sys/module/$VSR_MODULE"
load targets=x
told_wrong "$VSR_MODULE" targets x 2 "a number, 0 to 4294967295"
same "targets" "$(targets)" 2
unload

load targets=1
same "targets" "$(targets)" 1
d=$(disk 0000)
same "the size" "$(blockdev --getsize64 "/dev/$d")" $((16 << 20))
same "the cache" "$(cat "/sys/block/$d"/device/scsi_disk/*/cache_type)" "write through"
verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-256k --size=16m

# An illegal request, said by sense data: an unknown operation, an unknown page, the block behind the last.
sense()
{
	sg_raw -r 512 "/dev/$d" "$@" 2>&1 | grep -o 'Additional sense: .*' || true
}
same "the sense" "$(sense d5 00 00 00 00 00)" "Additional sense: Invalid command operation code"
same "the sense" "$(sense 12 01 b0 00 40 00)" "Additional sense: Invalid field in cdb"
same "the sense" "$(sense 28 00 00 00 80 00 00 00 01 00)" \
	"Additional sense: Logical block address out of range"
# The last block: all right, and all of it.
dd if=/dev/urandom of=/tmp/block bs=512 count=1 status=none
dd if=/tmp/block of="/dev/$d" bs=512 seek=32767 oflag=direct status=none
sg_raw -r 512 -o /tmp/read "/dev/$d" 28 00 00 00 7f ff 00 00 01 00 2>/dev/null
cmp /tmp/block /tmp/read || fail "the last block is another one"
# The host is reset, the target cannot be alone.
sg_reset --no-escalate --host "/dev/$d" || fail "the host cannot be reset"
fails sg_reset --no-escalate --target "/dev/$d"
same "the ID" "$(sg_vpd -p 0x83 "/dev/$d" | grep -o 'Rust.*RAM-.*\|RAM-[0-9]*' | tail -n 1 | grep -o 'RAM-[0-9]*')" RAM-0000
exec 5<"/dev/$d"
fails rmmod "$VSR_MODULE"
exec 5<&-
unload

load targets=64 size_mib=2
same "targets" "$(targets)" 64
for id in 0 31 63; do
	d=$(disk "$(printf %04d $id)")
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=2m
done
# Each has memory of its own.
for id in 0 1 62 63; do
	yes $id | dd of="/dev/$(disk "$(printf %04d $id)")" bs=4k count=8 iflag=fullblock oflag=direct status=none
done
for id in 0 1 62 63; do
	cmp <(yes $id | head -c 32768) <(head -c 32768 "/dev/$(disk "$(printf %04d $id)")") || fail "disk $id has other data"
done
unload
same "disks that are left" "$(targets)" 0

# A host that an administrator called deleted goes nevertheless.
load targets=1
d=$(disk 0000)
for state in cancel deleted; do
	echo $state >"$(scsi_host "$d")/state" || fail "$state"
done
unload
same "disks that are left" "$(targets)" 0
fails test -e "/sys/block/$d"

load targets=256 size_mib=1
same "targets" "$(targets)" 256
unload
