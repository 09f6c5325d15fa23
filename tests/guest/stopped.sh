# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The storage of two disks answers nothing for a while, and cannot be drained. It is waited for, and nobody else is held
# up: the machine (its monitor answers) and other disks go on, nothing fails, and when it answers, so do the disks.
# limit: 1200
disks=("$(disk stopped0)" "$(disk stopped1)")
for d in "${disks[@]}"; do
	# What a driver does about late commands, it does in time.
	if [[ -w /sys/block/$d/device/timeout ]]; then
		echo 2 >"/sys/block/$d/device/timeout"
		echo 2 >"/sys/block/$d/device/eh_timeout"
	elif [[ $MODE == request ]]; then
		echo 2000 >"/sys/block/$d/queue/io_timeout" || fail "no io_timeout"
	fi
done
if [[ $MODE == scsi ]]; then
	echo 2 >/sys/module/virtio_scsi/parameters/virtscsi_tmf_timeout
fi
in_flight()
{
	local reads writes
	read -r reads writes <"/sys/block/$1/inflight"
	((reads + writes >= 32))
}
# done_by DISK: how many I/Os it has ended.
done_by()
{
	awk '{ print $1 + $5 }' "/sys/block/$1/stat"
}
goes_on()
{
	[[ $(done_by "$1") != "$2" ]]
}
# iops: of reads of the disk whose storage is not stopped, for two seconds
iops()
{
	fio --name=free --filename="/dev/$(disk free)" --rw=randread --direct=1 --ioengine=io_uring --iodepth=4 --bs=4k --size=32m \
		--time_based --runtime=2 --allow_file_create=0 --minimal --output=/tmp/free.log || fail "reads of another disk: $(cat /tmp/free.log)"
	cut -d';' -f8 /tmp/free.log
}
usual="$(iops) $(iops)"
dmesg -C
host storage stop
loads=()
for d in "${disks[@]}"; do
	fio --name=load --filename="/dev/$d" --rw=randwrite --verify=crc32c --verify_fatal=1 --do_verify=1 --direct=1 \
		--ioengine=io_uring --iodepth=32 --bs=4k --size=8m --allow_file_create=0 --output="/tmp/load-$d.log" &
	loads+=($!)
done
for d in "${disks[@]}"; do
	wait_for 60 in_flight "$d" || fail "no 32 I/Os in flight on $d: $(<"/sys/block/$d/inflight")"
done
before=("$(done_by "${disks[0]}")" "$(done_by "${disks[1]}")")
end=$((SECONDS + $(host storage seconds)))
# For who reads it: that it goes on is what counts below, how fast depends on the machine.
echo "another disk: $usual reads a second, and $(iops) $(iops) $(iops) while the storage is stopped"
while ((SECONDS < end)); do
	host storage monitor || fail "QEMU's monitor does not answer: $(dmesg)"
	verify "$(disk free)" --direct=1 --ioengine=io_uring --iodepth=4 --bs=4k --size=256k
	sleep 1
done
for i in 0 1; do
	same "what ${disks[i]} ended meanwhile" "$(done_by "${disks[i]}")" "${before[i]}"
done
begin=$(date +%s%N)
host storage go
for i in 0 1; do
	wait_for 60 goes_on "${disks[i]}" "${before[i]}" || fail "${disks[i]} does not go on: $(dmesg)"
done
echo "I/O goes on after $((($(date +%s%N) - begin) / 1000000)) ms"
for i in 0 1; do
	wait "${loads[i]}" || fail "I/O failed on ${disks[i]}: $(cat "/tmp/load-${disks[i]}.log")"
done
if [[ $MODE == scsi ]]; then
	# Timers are rounded up to seconds: not so many timeouts as there were seconds.
	for seconds in 2 4 8 16; do
		same "units that are said to be late after $seconds s" \
			"$(dmesg | grep -c "not answered for $seconds s; waiting (32 commands in flight)")" 2
	done
	for d in "${disks[@]}"; do
		late=$(sed -n 's/^late //p' "$(counters_of "$d")")
		((late >= 32)) || fail "$d: $late commands are counted as late"
	done
	if dmesg | grep -E 'aborting it|device reset|resetting'; then
		fail "something was done about it"
	fi
fi
