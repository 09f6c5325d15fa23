# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# use_bio=auto with 40 disks: all are there when the module is, in the order in which they were found, and each with its path;
# how long that takes, beside the two modes that are not measured.
# driver: manual
# limit: 600
# shellcheck disable=SC2153 # the harness sets it
[[ $MODE == request ]] || skip "once is enough"
names=({a..z} a{a..n})
seconds()
{
	local begin=$EPOCHREALTIME
	insmod "$VSR_KO" "$@"
	awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'
}
for round in 1 2 3; do
	for mode in 0 1 auto; do
		took=$(seconds use_bio=$mode auto_latency=1000000 auto_time=100000)
		echo "# round $round: use_bio=$mode: 40 disks after $took s"
		if [[ $mode == auto ]]; then
			for name in "${names[@]}"; do
				same "the path of vd$name" "$(<"/sys/block/vd$name/io_path")" bio
			done
			# In the order of their PCI addresses.
			same "the first disk" "$(<"/sys/block/vda/serial")" many0
			same "the last disk" "$(<"/sys/block/vdan/serial")" many39
		fi
		unload
	done
done
