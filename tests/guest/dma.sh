# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Disks that reach memory through the platform: an IOMMU, or buffers that are copied (swiotlb).
for dir in /sys/block/vd*; do
	d=${dir##*/}
	name=$(<"$dir/serial")
	# The device of `stalled` has no part of this.
	[[ $name != plain && $name != stalled ]] || continue
	features=$(<"/sys/bus/virtio/devices/$(virtio_device "$d")/features")
	same "VIRTIO_F_ACCESS_PLATFORM of $name" "${features:33:1}" 1
	if [[ $name == bounce ]]; then
		grep -q 'swiotlb=force' /proc/cmdline || fail "no swiotlb"
		used=/sys/kernel/debug/swiotlb/io_tlb_used_hiwater
		echo 0 >$used
	elif [[ ! -d /sys/kernel/iommu_groups && $VSR_SLOWNESS != 1 ]]; then
		skip "the debug kernel has no IOMMU"
	else
		group=$(readlink "/sys/block/$d/device/../iommu_group") || fail "$name is in no group of an IOMMU"
		type=$(cat "/sys/block/$d/device/../iommu_group/type")
		[[ $type == DMA* ]] || fail "the domain of $name ($group) is $type: the IOMMU is passed by"
	fi
	verify "$d" --direct=1 --ioengine=io_uring --iodepth=32 --bsrange=512-256k --size=4m --numjobs=2 --offset_increment=16m
	verify "$d" --direct=0 --ioengine=psync --bs=4k --size=2m --end_fsync=1
	[[ $name != bounce ]] || (($(<"$used") > 0)) || fail "no buffer was copied"
done
