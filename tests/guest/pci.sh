# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A PCI function that goes and comes, or is reset.

# pci_command FUNCTION [VALUE]: its command register, as setpci reads and writes it.
pci_command()
{
	local file=/sys/bus/pci/devices/$1/config
	if [[ -z ${2:-} ]]; then
		od -An -tu2 -j4 -N2 "$file" | tr -d ' '
	else
		# shellcheck disable=SC2059 # the two bytes
		printf "$(printf '\\x%02x\\x%02x' $(($2 & 255)) $(($2 >> 8)))" | dd of="$file" bs=2 seek=2 conv=notrunc status=none
	fi
}

# take_away FUNCTION ON: three times bus mastering alone, then all, and back to the value ON.
take_away()
{
	local off
	for off in $(($2 & ~4)) 0 $(($2 & ~4)) 0 $(($2 & ~4)) 0; do
		pci_command "$1" "$off"
		sleep 0.$((3 + RANDOM % 7))
		pci_command "$1" "$2"
		sleep 1
	done
}

# enable_once_more FUNCTION: it is enabled by somebody else as well, so that the next reset of it is not brought to its end:
# virtio-pci tells the driver that it begins, and finds it enabled then.
enable_once_more()
{
	local driver=/sys/bus/pci/drivers/virtio-pci
	echo "$1" >$driver/unbind
	echo 1 >"/sys/bus/pci/devices/$1/enable"
	echo "$1" >$driver/bind
}

# bind_anew FUNCTION
bind_anew()
{
	local driver=/sys/bus/pci/drivers/virtio-pci
	echo "$1" >$driver/unbind
	echo "$1" >$driver/bind
}

# reset_unbinding FUNCTION DEVICE DISK ROUNDS: it is reset under I/O, and by the operator, while the virtio device is unbound,
# whichever comes first. The disk $d, which is DISK, may have another name then.
reset_unbinding()
{
	local driver load resets reset round file word
	driver=$(readlink -f "/sys/bus/virtio/devices/$2/driver")
	# One that meets a probe is the kernel's fault: the device's registers are nowhere for a while.
	expect_log 'Reset prepare failure'
	for round in $(seq "$4"); do
		fio --name=load --filename="/dev/$d" --rw=randrw --bs=4k --direct=1 --ioengine=io_uring --iodepth=16 --size=16m \
			--time_based --runtime=60 --allow_file_create=0 --output=/tmp/load.log >/tmp/load.err 2>&1 &
		load=$!
		sleep 0.5
		echo 1 >"/sys/bus/pci/devices/$1/reset" &
		resets=($!)
		if [[ $MODE != c ]]; then
			read -r file word <<<"$(operator_reset "$d")"
			# It fails where the unbind came first.
			(sleep 0.0$((RANDOM % 10)) && echo "$word" >"$file") 2>/dev/null &
			resets+=($!)
		fi
		sleep 0.0$((RANDOM % 10))
		echo "$2" >"$driver/unbind"
		for reset in "${resets[@]}"; do
			wait_for 100 not_running "$reset" || fail "round $round: a reset does not end"
		done
		wait_for 400 not_running $load || fail "round $round: fio does not end"
		echo "$2" >"$driver/bind"
		wait_for 60 disk "$3" >/dev/null || fail "round $round: the disk did not come back"
		d=$(disk "$3")
	done
}
