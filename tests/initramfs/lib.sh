# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
# What the inits of guests share whose whole system is an initramfs: they have busybox, the programs that they name, and
# the modules of one driver. One line for each case goes to the kernel's log, and so to the console, where the host reads it:
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

driver=$(cat /driver)
for module in /modules/*; do
	parameters=
	[ "${module%"-$driver.ko"}" = "$module" ] || parameters=$(cat /parameters)
	# shellcheck disable=SC2086 # several words
	insmod "$module" $parameters
done

# Once the driver is to be seen.
prove_driver() {
	! ours || ok "our module" cmp /build-id "/sys/module/$driver/notes/.note.gnu.build-id"
}

# ends: the last line, by which the host knows that no case is missing
ends() {
	ok "unload" rmmod "$driver"
	say "done $cases"
	poweroff -f
}
