# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Addresses, limits of the host and of the disks: as the C driver has them. Not the letters: sd probes side by side.
lsscsi
same "the address of data" "$(basename "$(readlink -f "/sys/block/$(disk data)/device")" | cut -d: -f2-)" 0:0:0
same "the address of data4k" "$(basename "$(readlink -f "/sys/block/$(disk data4k)/device")" | cut -d: -f2-)" 0:1:3
# Logical unit 300 in flat addressing.
same "the address of high" "$(basename "$(readlink -f "/sys/block/$(disk high)/device")" | cut -d: -f2-)" 0:255:16684
same "what is on the CD" "$(dd if=/dev/sr0 bs=2048 count=1 status=none | head -c 8)" discdisc
for host in /sys/class/scsi_host/host*; do
	[[ $(<"$host/proc_name") == virtio_scsi ]] || continue
	for attr in proc_name can_queue cmd_per_lun sg_tablesize sg_prot_tablesize nr_hw_queues prot_capabilities \
		prot_guard_type unique_id active_mode use_blk_mq; do
		echo "host $attr $(<"$host/$attr")"
	done
done >"/tmp/host.$MODE"
[[ -s /tmp/host.$MODE ]] || fail "no host of virtio_scsi"
for name in data data4k high thin; do
	d=$(disk $name)
	for attr in logical_block_size physical_block_size minimum_io_size optimal_io_size max_segments max_hw_sectors_kb \
		max_sectors_kb max_segment_size rotational write_cache fua dma_alignment discard_granularity discard_max_bytes \
		write_zeroes_max_bytes nr_requests; do
		echo "$name $attr $(read_attr "$d" $attr)"
	done
	for attr in queue_depth type vendor model rev scsi_level timeout eh_timeout; do
		echo "$name $attr $(<"/sys/block/$d/device/$attr")"
	done
	echo "$name size $(<"/sys/block/$d/size")"
done >>"/tmp/host.$MODE"
lsscsi | sed -E 's/^\[[0-9]*:/[H:/; s|/dev/.*||' >>"/tmp/host.$MODE"
if [[ -e /tmp/host.c ]]; then
	diff /tmp/host.c "/tmp/host.$MODE" || fail "something differs from the C driver's (left)"
fi
