# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# What the inits of guests share whose whole system is an initramfs: they have busybox, the programs that they name, and
# the modules of their drivers. One line for each case goes to the kernel's log, and so to the console, where the host reads it:
# no message of the kernel can come into the middle of it.
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

say() {
	echo "vsr $*" >/dev/kmsg
}

cases=0

ok() {
	local what=$1
	shift
	cases=$((cases + 1))
	if "$@"; then
		say "ok $what"
	else
		say "not ok $what: $* ended with status $?"
	fi
}

# The C driver has neither a build ID of ours nor a mode.
ours() {
	[ -e /mode ]
}

# The first is the one that the case is about, and has the parameters.
drivers=$(cat /drivers)
driver=${drivers%%[[:space:]]*}
for module in /modules/*; do
	parameters=
	[ "${module%"-$driver.ko"}" = "$module" ] || parameters=$(cat /parameters)
	# shellcheck disable=SC2086 # several words
	insmod "$module" $parameters
done

# Once the drivers are to be seen.
prove_driver() {
	local name
	for name in $drivers; do
		! ours || ok "our $name" cmp "/build-id.$name" "/sys/module/$name/notes/.note.gnu.build-id"
	done
}

# finds SERIAL: sets disk and driver
finds() {
	local path device
	for path in /sys/block/vd* /sys/block/sd*; do
		case $path in
		*/vd*) [ "$(cat "$path/serial" 2>/dev/null)" = "$1" ] ;;
		*) [ "$(tail -c +5 "$path/device/vpd_pg80" 2>/dev/null)" = "$1" ] ;;
		esac || continue
		disk=/dev/${path##*/}
		device=$(readlink -f "$path/device") || continue
		# shellcheck disable=SC2034 # for who calls
		driver_of_disk=$(basename "$(readlink "${device%/host*}/driver")")
		[ ! -b "$disk" ] || return 0
	done
	return 1
}

# soon COMMAND...: within 3 minutes, since the machine may have other work
soon() {
	local i=0
	until "$@"; do
		i=$((i + 1))
		[ $i -lt 900 ] || return 1
		sleep 0.2
	done
}

# ends: the last line, by which the host knows that no case is missing
ends() {
	local name
	for name in $drivers; do
		ok "unload $name" rmmod "$name"
	done
	say "done $cases"
	poweroff -f
}
