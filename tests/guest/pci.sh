# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A PCI function that goes and comes.

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
