# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Functions for scenarios. $MODE is request or bio (virtio_blk), scsi (virtio_scsi), or c (the kernel's own driver, as
# oracle).
# shellcheck source=scripts/guest/lib.sh
. "$VSR_GUEST_LIB"

# end_case STATUS: the reason has been told.
end_case()
{
	# shellcheck disable=SC2034 # case.sh has nothing to add
	told=1
	exit "$1"
}

fail()
{
	echo "FAILED: $*"
	end_case 1
}

# load_vduse makes VDUSE ready to serve disks.
load_vduse()
{
	modprobe -a vduse virtio_vdpa
}

skip()
{
	echo "$*"
	[[ ! -d /sys/module/$VSR_MODULE ]] || unload
	end_case 4
}

# same WHAT FOUND WANTED
same()
{
	[[ $2 == "$3" ]] || fail "$1 is '$2', not '$3'"
}

# settled: udev has done all that it was told. Its daemon can end the talk about that early ("Broken pipe"): asked again then.
settled()
{
	wait_for 60 udevadm settle --timeout=60 || fail "udev does not settle"
}

# fails COMMAND... must fail
fails()
{
	if "$@"; then
		fail "$* succeeded"
	fi
}

# load [PARAM=VALUE...]: the driver of $MODE, and the proof that it is that one.
load()
{
	# udev has done it; the scenario asked for no parameters, and the guest was booted for the mode.
	if [[ -n ${VSR_COLDPLUGGED:-} ]]; then
		prove_driver
		return
	fi
	case $MODE in
	c) DRIVER=c load_driver "$@" ;;
	request) load_driver use_bio=0 "$@" ;;
	bio) load_driver use_bio=1 "$@" ;;
	scsi) load_driver "$@" ;;
	*) fail "no such mode: $MODE" ;;
	esac
	# The bus probes when the module registers, disk after disk, and the load waits for what goes on in the background:
	# all are there now.
	prove_driver
}

prove_driver()
{
	local disk running ours
	if [[ $MODE == c ]]; then
		for ours in virtio_blk/parameters/use_bio virtio_scsi/parameters/virtscsi_timeouts; do
			[[ ! -e /sys/module/$ours ]] || fail "ours is loaded, not the C driver"
		done
		return
	fi
	running=$(od -An -tx1 -v -j16 "/sys/module/$VSR_MODULE/notes/.note.gnu.build-id" | tr -d ' \n')
	same "build ID of the loaded module" "$running" "$VSR_BUILD_ID"
	for disk in /sys/block/vd*; do
		[[ -e $disk ]] || continue
		same "$disk/io_path" "$(<"$disk/io_path")" "$MODE"
	done
}

# told_wrong MODULE PARAMETER VALUE DEFAULT CHOICES: the log names them, and the default counts.
told_wrong()
{
	local line="$1: wrong value \"$3\" of the parameter $2: it takes $5; its default counts, $4"
	dmesg | grep -F "$line" || fail "the log does not say '$line' but: $(dmesg | grep "$1:")"
	same "$2 after the wrong value $3" "$(<"/sys/module/$1/parameters/$2")" "$4"
}

unload()
{
	[[ -z ${VSR_COLDPLUGGED:-} ]] || return 0
	wait_for 20 rmmod "$VSR_MODULE" || fail "rmmod: $(rmmod "$VSR_MODULE" 2>&1)"
	fails test -e "/sys/module/$VSR_MODULE"
}

# disk SERIAL prints the name (vda, ...) of the disk with that serial number.
disk()
{
	local dir serial
	for dir in /sys/block/vd* /sys/block/sd* /sys/block/sr*; do
		[[ -e $dir ]] || continue
		read_serial "$dir"
		if [[ $serial == "$1" ]]; then
			echo "${dir##*/}"
			return
		fi
	done
	echo "no disk with serial '$1'" >&2
	return 1
}

# read_serial /sys/block/DISK sets $serial: no program runs for it, since there may be hundreds of disks.
read_serial()
{
	serial=
	{
		if [[ -e $1/serial ]]; then
			IFS= read -r serial <"$1/serial"
		else
			# Four bytes are its header, two of them null bytes, which are not read. Some targets fill it up with spaces.
			IFS= read -r -N 300 serial <"$1/device/vpd_pg80"
			serial=${serial:2}
			serial=${serial// /}
		fi
	} 2>/dev/null || true
}

# serial /sys/block/DISK prints it.
serial()
{
	local serial
	read_serial "$1"
	echo "$serial"
}

# virtio_device DISK prints its name on the virtio bus.
virtio_device()
{
	basename "$(readlink -f "/sys/block/$1/device")"
}

# scsi_host DISK prints the folder in sysfs of the host that its unit is behind.
scsi_host()
{
	echo "/sys/class/scsi_host/host$(basename "$(readlink -f "/sys/block/$1/device")" | cut -d: -f1)"
}

# counters_of DISK: the file of counters in debugfs, of the disk or of its SCSI host
counters_of()
{
	mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
	case $1 in
	vd*) echo "/sys/kernel/debug/virtio_blk-$1/counters" ;;
	*) echo "/sys/kernel/debug/virtio_scsi-$(basename "$(scsi_host "$1")")/counters" ;;
	esac
}

# has_size DISK BYTES
has_size()
{
	[[ $(blockdev --getsize64 "/dev/$1") == "$2" ]]
}

# since MARK FILE: what a device of our own has logged since the mark.
since()
{
	sed "1,/^# $1\$/d" "$2"
}

# verify DISK FIO-OPTIONS...: write with checksums, read back, compare.
verify()
{
	local disk=$1
	shift
	fio --name=verify --filename="/dev/$disk" --rw=randwrite --verify=crc32c --verify_fatal=1 \
		--do_verify=1 --randrepeat=0 --allow_file_create=0 --output=/tmp/fio.log --minimal "$@" || {
		cat /tmp/fio.log
		fail "fio on $disk ($*)"
	}
}

# partition DISK [START SIZE...]: a DOS partition table, in sectors
partition()
{
	python3 - "/dev/$1" "${@:2}" <<'E'
import struct, sys
numbers = [int(word) for word in sys.argv[2:]]
table = b"".join(
    struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), start, size)
    for start, size in zip(numbers[::2], numbers[1::2])
)
with open(sys.argv[1], "r+b") as disk:
    disk.write(bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa")
E
	blockdev --rereadpt "/dev/$1"
}

not_running()
{
	! kill -0 "$1"
}

read_attr()
{
	cat "/sys/block/$1/queue/$2"
}

# operator_reset DISK prints the file by which the operator resets its device, or its host, and the word for it.
operator_reset()
{
	if [[ $MODE == scsi ]]; then
		echo "/sys/class/scsi_host/$(readlink -f "/sys/block/$1/device" | grep -o 'host[0-9]*' | head -n 1)/host_reset adapter"
	else
		echo "/sys/block/$1/reset 1"
	fi
}

# told REGEX: the kernel log says it
told()
{
	dmesg | grep -q "$1"
}

# counted FILE NAME [LINES]: the sum of a column of a file of counters, over all queues, or the lines that match
counted()
{
	awk -v name="$2" -v lines="${3:-^[0-9]+\$}" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) at = i }
		NR > 1 && $1 ~ lines { sum += $at } END { print sum + 0 }' "$1"
}
