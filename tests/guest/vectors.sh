# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Interrupt vectors: disks by the hundred on 16 CPUs leave a network card, whose driver comes last, all that it wants. The
# first disks have a vector for each queue, later ones one for all queues, and with a small budget they interrupt by their
# line; what a disk gives back, the next one takes. Of the C driver it tells what is left.
# driver: manual
# limit: 3600
count=$(find /sys/bus/virtio/devices/*/device -maxdepth 0 -exec grep -lx 0x0002 {} + | wc -l)

# With 16 emulated CPUs a program takes a fifth of a second: what is done for each disk is done without.
shopt -s nullglob

# count_vectors FUNCTION...: `vectors` is how many interrupt vectors they have.
count_vectors()
{
	local irqs=()
	for function; do
		irqs+=("$function"/msi_irqs/*)
	done
	vectors=${#irqs[@]}
}

# has_disks: all of them.
has_disks()
{
	local disks=(/sys/block/vd*)
	((${#disks[@]} == count))
}

# readable DISK...
readable()
{
	python3 -c '
import mmap, os, sys
buffer = mmap.mmap(-1, 4096)
for disk in sys.argv[1:]:
    if os.preadv(os.open("/dev/" + disk, os.O_RDONLY | os.O_DIRECT), [buffer], 0) != 4096:
        sys.exit(disk + " is too short")
' "$@" || fail "not all of $* can be read"
}

# find_card: `card` is how many vectors the network card has, once its driver has found it.
find_card()
{
	local id
	id=$(grep -lx 0x10c9 /sys/bus/pci/devices/*/device) || fail "there is no network card"
	modprobe igb || fail "igb: $(dmesg | tail -n 1)"
	count_vectors "${id%/device}"
	card=$vectors
	rmmod igb
}

# is DISK WHAT: what `vectors` says, which is what the kernel says.
is()
{
	same "vectors of $1" "$(<"/sys/block/$1/vectors")" "$2"
	count_vectors "/sys/block/$1/device/.."
	same "vectors of the function of $1" "$vectors" "${2% *}"
}

# unbind DEVICE, and bind DEVICE: `d` is its disk then.
unbind()
{
	echo "$1" >/sys/bus/virtio/drivers/virtio_blk/unbind
}

bind()
{
	echo "$1" >/sys/bus/virtio/drivers/virtio_blk/bind
	for d in "/sys/bus/virtio/devices/$1/block"/*; do
		d=${d##*/}
	done
	wait_disk "$d" || fail "$1 does not come back"
}

# cycle DISK: its driver lets go of it and takes it again.
cycle()
{
	local device
	device=$(virtio_device "$1")
	unbind "$device"
	bind "$device"
}

find_card
wanted=$card
((wanted > 2)) || fail "the network card has $wanted vectors without any disk"
load
if [[ $MODE == c ]]; then
	find_card
	disks=(/sys/block/vd*)
	count_vectors /sys/bus/virtio/devices/*/..
	echo "# C driver: $count disks, $((count - ${#disks[@]})) of them dead, with $vectors vectors;" \
		"the network card has $card of $wanted"
	unload
	return
fi
has_disks || fail "$(dmesg | grep virtio_blk | tail -n 1); not all of $count disks are there"
find_card
same "vectors of the network card" "$card" "$wanted"

declare -A kinds=([each]=0 [shared]=0 [line]=0)
disks=(/sys/block/vd*)
readable "${disks[@]##*/}"
total=0 last=
for dir in "${disks[@]}"; do
	read -r n kind <"$dir/vectors"
	count_vectors "$dir/device/.."
	[[ $vectors == "$n" ]] || fail "$dir/vectors says $n, the kernel $vectors"
	kinds[$kind]=$((kinds[$kind] + 1))
	total=$((total + n))
	[[ $kind != shared ]] || last=${dir##*/}
done
echo "# $total vectors: ${kinds[each]} disks with one for each queue, ${kinds[shared]} share one, ${kinds[line]} by line"
is vda "17 each"
((kinds[each] >= 60 && kinds[shared] >= 60)) || fail "too few of one kind"
same "disks without a vector" "${kinds[line]}" 0
news=$(dmesg | sed "1,/vsr-case $MODE:$SCENARIO/d" | grep -c 'interrupt vectors too few are left')
same "how often the log says so" "$news" 1
((total <= $(nproc) * 205 * 3 / 4)) || fail "$total vectors are more than the budget"

# The shared vector is not bound to one CPU.
for file in "/sys/block/$last/device/../msi_irqs"/*; do
	same "CPUs of a shared vector" "$(<"/proc/irq/${file##*/}/smp_affinity_list")" "0-$(($(nproc) - 1))"
done

# A reset finds the queues anew.
for d in vda "$last"; do
	before=$(<"/sys/block/$d/vectors")
	echo 1 >"/sys/block/$d/reset"
	is "$d" "$before"
	readable "$d"
done
# What one gives back, another takes.
first=$(virtio_device vda)
second=$(virtio_device "$last")
unbind "$first"
unbind "$second"
bind "$second"
is "$d" "17 each"
readable "$d"
bind "$first"
is "$d" "2 shared"
readable "$d"

# By the line, if the budget is spent.
parameter=/sys/module/virtio_blk/parameters/max_vectors
echo 1 >$parameter
cycle vdb
is "$d" "0 line"
readable "$d"
echo 100000 >$parameter
cycle "$d"
is "$d" "17 each"
readable "$d"
echo 0 >$parameter
unload
